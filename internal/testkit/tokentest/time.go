package tokentest

import (
	"math"
	"time"

	"middletier/internal/validate"
)

// timeRefusals are good at another time, or at no time that can be. Clocks may
// differ by a minute.
var timeRefusals = []Refusal{
	{"exp missing", NoClaim("exp"), validate.Malformed, "exp is missing"},
	{"exp in milliseconds", milliseconds("exp", time.Hour), validate.Malformed, `"exp"`},
	{"exp 1e308", Claim("exp", 1e308), validate.Malformed, `"exp"`},
	{"exp beyond float64", All(NoClaim("exp"), EditClaims(Appended(`"exp":1e999`))), validate.Malformed, `"exp"`},
	{"exp beyond int64", Claim("exp", uint64(math.MaxUint64)), validate.Malformed, `"exp"`},
	{"exp beyond the year 9999", Claim("exp", 253402300800), validate.Malformed, `"exp"`},
	{"exp negative", Claim("exp", -1), validate.Malformed, `"exp"`},
	{"exp zero", Claim("exp", 0), validate.Expired, ""},
	{"exp close to zero", All(NoClaim("exp"), EditClaims(Appended(`"exp":1e-400`))), validate.Expired, ""},
	{"exp as a date", Claim("exp", "2099-01-01T00:00:00Z"), validate.Malformed, `"exp"`},
	{"exp long ago", Ahead("exp", -time.Hour), validate.Expired, ""},
	{"exp as long ago as the skew", Ahead("exp", -time.Minute), validate.Expired, ""},
	{"exp a fraction more than the skew ago", func(d *Draft) { d.Claims["exp"] = float64(time.Now().Unix()-60) - 0.25 }, validate.Expired, ""},
	{"expires_in in place of exp", All(NoClaim("exp"), Claim("expires_in", 3600)), validate.Malformed, "exp is missing"},
	{"nbf ahead", Ahead("nbf", time.Hour), validate.NotYetValid, ""},
	{"nbf ahead by some seconds more than the skew", Ahead("nbf", 75*time.Second), validate.NotYetValid, ""},
	{"nbf 1e308", Claim("nbf", 1e308), validate.Malformed, `"nbf"`},
	{"nbf in milliseconds", milliseconds("nbf", 0), validate.Malformed, `"nbf"`},
	{"nbf negative", Claim("nbf", -1), validate.Malformed, `"nbf"`},
	{"iat ahead", Ahead("iat", time.Hour), validate.NotYetValid, ""},
	{"iat ahead by some seconds more than the skew", Ahead("iat", 75*time.Second), validate.NotYetValid, ""},
	{"iat 1e308", Claim("iat", 1e308), validate.Malformed, `"iat"`},
	{"iat in milliseconds", milliseconds("iat", 0), validate.Malformed, `"iat"`},
	{"iat negative", Claim("iat", -1), validate.Malformed, `"iat"`},
}

func milliseconds(name string, ahead time.Duration) Change {
	return func(d *Draft) { d.Claims[name] = time.Now().Add(ahead).UnixMilli() }
}
