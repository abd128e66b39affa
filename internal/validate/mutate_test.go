package validate_test

import (
	"encoding/base64"
	"strings"
)

// mutate changes a token's text somewhere. pick chooses a number below n; other
// is a token to take parts from.
func mutate(pick func(n int) int, token, other string) string {
	const bytes = "AQgw-_+/=. \n\r\t,{}\x00\xff"
	at := pick(len(token) + 1)
	end := min(len(token), at+1+pick(4))
	mine, others := strings.Split(token, "."), strings.Split(other, ".")
	part := pick(len(mine))
	switch pick(10) {
	case 0: // another byte
		return token[:at] + string(bytes[pick(len(bytes))]) + token[min(at+1, len(token)):]
	case 1: // one more
		return token[:at] + string(bytes[pick(len(bytes))]) + token[at:]
	case 2: // some fewer
		return token[:at] + token[end:]
	case 3: // some twice
		return token[:end] + token[at:]
	case 4: // more after it
		return token + other[:pick(len(other))]
	case 5: // a part of another token
		mine[part] = others[min(part, len(others)-1)]
	case 6: // two parts in each other's place
		i := pick(len(mine))
		mine[i], mine[part] = mine[part], mine[i]
	case 7: // another spelling of a part: spare bits
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		if n := len(mine[part]); n%4 > 1 {
			if digit := strings.IndexByte(digits, mine[part][n-1]); digit >= 0 {
				mine[part] = mine[part][:n-1] + string(digits[digit|1])
			}
		}
	case 8: // another spelling of a part: the standard alphabet, padded
		if data, err := base64.RawURLEncoding.DecodeString(mine[part]); err == nil {
			mine[part] = base64.StdEncoding.EncodeToString(data)
		}
	case 9: // one bit of what a part encodes
		if data, err := base64.RawURLEncoding.DecodeString(mine[part]); err == nil && len(data) > 0 {
			data[pick(len(data))] ^= 1 << pick(8)
			mine[part] = b64(string(data))
		}
	}
	return strings.Join(mine, ".")
}
