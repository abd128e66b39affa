package config

import (
	"errors"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The JSON Schema has the same patterns, so that editors and the program agree.
const (
	durationPattern = `^(([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|` + timeSpanPattern + `)$`
	// timeSpanPattern is .NET's form: days.hours:minutes:seconds.fraction.
	timeSpanPattern = `([0-9]+\.)?([01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{1,7})?`
	sizePattern     = `^[0-9]+(KiB|MiB|GiB)?$`
)

var (
	durationForm = regexp.MustCompile(durationPattern)
	sizeForm     = regexp.MustCompile(sizePattern)
	timeSpanForm = regexp.MustCompile(`^` + timeSpanPattern + `$`)
	decimalForm  = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// setScalar sets v to the value of text, or returns what was expected.
func setScalar(v reflect.Value, text string, enum []string) string {
	s := shapeOf(v.Type())
	problem := "expected " + s.String()
	switch s {
	case textShape:
		return setText(v, text, enum)
	case boolShape:
		return setBool(v, text, problem)
	case intShape:
		return setInt(v, text, problem)
	case floatShape:
		return setFloat(v, text, problem)
	case durationShape:
		return setDuration(v, text, problem)
	default:
		return setSize(v, text, problem)
	}
}

// setText accepts a text of the enum in any case, and stores the enum's spelling.
func setText(v reflect.Value, text string, enum []string) string {
	if len(enum) > 0 {
		i := slices.IndexFunc(enum, func(e string) bool { return strings.EqualFold(e, text) })
		if i < 0 {
			return "expected " + alternatives(enum)
		}
		text = enum[i]
	}
	v.SetString(text)
	return ""
}

func setBool(v reflect.Value, text, problem string) string {
	if !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
		return problem
	}
	v.SetBool(strings.EqualFold(text, "true"))
	return ""
}

func setInt(v reflect.Value, text, problem string) string {
	i, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && v.OverflowInt(i) {
		return problem + " that is not so large"
	}
	if err != nil {
		return problem
	}
	v.SetInt(i)
	return ""
}

func setFloat(v reflect.Value, text, problem string) string {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !decimalForm.MatchString(text) || v.OverflowFloat(f) {
		return problem
	}
	v.SetFloat(f)
	return ""
}

func setDuration(v reflect.Value, text, problem string) string {
	switch positive, negative := strings.CutPrefix(text, "-"); {
	case decimalForm.MatchString(text):
		return "expected a duration with a unit, such as 30s"
	case negative && durationForm.MatchString(positive):
		return "expected a duration that is not negative"
	case !durationForm.MatchString(text):
		return problem
	}
	duration, err := parseDuration(text)
	if err != nil {
		return "expected a duration that is not so long"
	}
	v.SetInt(int64(duration))
	return ""
}

// parseDuration reads a text of durationForm.
func parseDuration(text string) (time.Duration, error) {
	if !timeSpanForm.MatchString(text) {
		return time.ParseDuration(text)
	}
	days, rest, found := strings.Cut(text, ".")
	if !found || strings.Contains(days, ":") { // the dot is that of the fraction
		days, rest = "0", text
	}
	count, err := strconv.ParseInt(days, 10, 32)
	if err != nil || count > maxDays {
		return 0, errTooLong
	}
	parts := strings.Split(rest, ":")
	clock, err := time.ParseDuration(parts[0] + "h" + parts[1] + "m" + parts[2] + "s")
	return time.Duration(count)*24*time.Hour + clock, err
}

// maxDays is how many days a time.Duration holds.
const maxDays = math.MaxInt64/int64(24*time.Hour) - 1

var errTooLong = errors.New("too long")

func setSize(v reflect.Value, text, problem string) string {
	if !sizeForm.MatchString(text) {
		return problem
	}
	size, ok := parseSize(text)
	if !ok {
		return "expected a size that is not so large"
	}
	v.SetInt(int64(size))
	return ""
}

// alternatives returns "a", "b" or "c".
func alternatives(texts []string) string {
	var b strings.Builder
	for i, text := range texts {
		switch {
		case i == 0:
		case i == len(texts)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(text))
	}
	return b.String()
}
