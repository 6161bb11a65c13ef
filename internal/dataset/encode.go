package dataset

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"modelmanager.dev"
)

// appendString writes a JSON string: only what must be escaped is.
func appendString[T string | []byte](dst []byte, text T) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"')
}

// appendFloat writes the shortest number that reads back the same.
func appendFloat(dst []byte, v float64) []byte {
	if size := math.Abs(v); size != 0 && (size < 1e-6 || size >= 1e21) {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendDate writes a date as RFC 3339 does.
func appendDate(dst []byte, days int32) []byte {
	year, month, day := civil(days)
	dst = append2(append2(dst, year/100), year%100)
	dst = append2(append(dst, '-'), month)
	return append2(append(dst, '-'), day)
}

// appendTime writes a date-time as RFC 3339 does, in UTC, with as many digits
// of the second as it has.
func appendTime(dst []byte, micros int64) []byte {
	days := micros / microsPerDay
	micros %= microsPerDay
	if micros < 0 {
		days, micros = days-1, micros+microsPerDay
	}
	dst = appendDate(dst, int32(days))
	seconds := int(micros / microsPerSecond)
	dst = append2(append(dst, 'T'), seconds/3600)
	dst = append2(append(dst, ':'), seconds/60%60)
	dst = append2(append(dst, ':'), seconds%60)
	if micros %= microsPerSecond; micros != 0 {
		dst = append(dst, '.')
		for unit := int64(microsPerSecond / 10); micros > 0; unit /= 10 {
			dst = append(dst, byte('0'+micros/unit))
			micros %= unit
		}
	}
	return append(dst, 'Z')
}

func append2(dst []byte, v int) []byte {
	return append(dst, byte('0'+v/10%10), byte('0'+v%10))
}

// appendAny writes a value of a spec (a default, a level) as the JSON that a
// caller would send for it.
func appendAny(dst []byte, r *rule, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return appendAny(dst, r, int64(v))
	case int64:
		if r.long {
			return append(strconv.AppendInt(append(dst, '"'), v, 10), '"'), nil
		}
		return strconv.AppendInt(dst, v, 10), nil
	case uint64:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("%d is beyond 64 bits", v)
		}
		return appendAny(dst, r, int64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a number", v)
		}
		return appendFloat(dst, v), nil
	case json.Number:
		return append(dst, v...), nil
	case string:
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("%q is not valid UTF-8", v)
		}
		return appendString(dst, v), nil
	case []any:
		item := r
		if r.item != nil {
			item = r.item
		}
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendAny(dst, item, v[i]); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	}
	return nil, fmt.Errorf("%v is no value of type %s", value, modelmanager.Type(r.field.Type))
}
