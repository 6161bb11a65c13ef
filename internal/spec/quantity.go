package spec

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
)

var (
	quantityText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$`)
	durationText = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	quantityUnit = map[string]int64{
		"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
	}
)

const (
	minBytes = 1 << 20
	maxBytes = 1 << 44
	maxCores = 1024
	maxTime  = 365 * 24 * time.Hour
)

// quantity reads a duration, a number of cores (into thousandths) or a size
// (into bytes). The problem continues a sentence that begins with the key.
func quantity(n *node, kind shapeKind) (value any, problem, hint string) {
	s := shape{kind: kind}
	if n.kind != kindText && (kind == shapeTime || n.kind != kindInteger && n.kind != kindNumber) {
		if kind == shapeTime && (n.kind == kindInteger || n.kind == kindNumber) {
			hint = fmt.Sprintf("write the unit: %ss", n.text)
		}
		return nil, fmt.Sprintf("must be %s, but this is %s", s.wanted(), n.what()), hint
	}
	text := strings.TrimSpace(n.text)
	switch kind {
	case shapeTime:
		return readDuration(text)
	case shapeCPU:
		return readCores(text)
	}
	return readBytes(text)
}

func readDuration(text string) (any, string, string) {
	if !durationText.MatchString(text) {
		return nil, fmt.Sprintf("must be a duration such as 30s, not %s", quote(text)), durationHint(text)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d > maxTime {
		return nil, fmt.Sprintf("is too long; at most %dh are allowed", int(maxTime.Hours())), ""
	}
	if d <= 0 {
		return nil, "must be more than 0", ""
	}
	return Duration(d), "", ""
}

func durationHint(text string) string {
	number := strings.TrimRight(text, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value < 0 || value > 1e6 {
		return "write ms, s, m and h, as in 90s, 10m or 1h30m"
	}
	unit := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(text, number)))
	switch {
	case strings.HasPrefix(unit, "d"):
		return "write it in hours: " + strconv.FormatFloat(value*24, 'f', -1, 64) + "h"
	case strings.HasPrefix(unit, "w"):
		return "write it in hours: " + strconv.FormatFloat(value*168, 'f', -1, 64) + "h"
	case strings.HasPrefix(unit, "h"):
		return "write " + number + "h"
	case unit == "" || strings.HasPrefix(unit, "s"):
		return "write " + number + "s"
	case strings.HasPrefix(unit, "mi") && !strings.HasPrefix(unit, "mil"):
		return "write " + number + "m"
	}
	return "write ms, s, m and h, as in 90s, 10m or 1h30m"
}

// scaled multiplies a decimal number exactly, and rounds up.
func scaled(number string, by int64) (int64, bool) {
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, false
	}
	value.Mul(value, new(big.Rat).SetInt64(by))
	whole, rest := new(big.Int).QuoRem(value.Num(), value.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole.Int64(), whole.IsInt64()
}

func readCores(text string) (any, string, string) {
	match := quantityText.FindStringSubmatch(text)
	if match == nil || len(text) > 40 || match[2] != "" && match[2] != "m" {
		return nil, fmt.Sprintf("must be a number of cores, not %s", quote(text)), "write 2, 0.5, or 500m for half a core"
	}
	milli, ok := scaled(match[1], 1000)
	if match[2] == "m" {
		milli, ok = scaled(match[1], 1)
	}
	switch {
	case !ok || milli > maxCores*1000:
		return nil, fmt.Sprintf("must be at most %d cores, not %s", maxCores, shorten(text)), fmt.Sprintf("did you mean %sm?", match[1])
	case milli < 1:
		return nil, "must be more than 0", "500m is half a core"
	}
	return milli, "", ""
}

func readBytes(text string) (any, string, string) {
	match := quantityText.FindStringSubmatch(text)
	if match == nil || len(text) > 40 {
		return nil, fmt.Sprintf("must be a size such as 512Mi, not %s", quote(text)), sizeHint(text)
	}
	unit, ok := quantityUnit[match[2]]
	if !ok {
		return nil, fmt.Sprintf("has an unknown unit, %s", quote(match[2])), sizeHint(text)
	}
	size, ok := scaled(match[1], unit)
	switch {
	case !ok || size > maxBytes:
		return nil, "must be at most 16Ti", ""
	case size < minBytes:
		return nil, fmt.Sprintf("is %d bytes; at least 1Mi is needed", size), sizeHint(match[1])
	}
	return size, "", ""
}

// ParseSize reads a size as model.yaml has it, such as 512Mi, into bytes.
func ParseSize(text string) (int64, error) {
	size, problem, hint := readBytes(text)
	if problem != "" {
		if hint != "" {
			problem += "; " + hint
		}
		return 0, modelmanager.Errorf(modelmanager.CodeBadRequest, "the size %s", problem)
	}
	return size.(int64), nil
}

func sizeHint(text string) string {
	number := strings.TrimRight(text, " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(text, number)))
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || value <= 0 || math.IsInf(value, 0) || unit == "" && value > 1e5 {
		return "write it as in 512Mi or 2Gi"
	}
	letter := map[string]string{"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti", "": "Mi"}
	first := unit
	if unit != "" {
		first = unit[:1]
	}
	if to, ok := letter[first]; ok {
		return "did you mean " + number + to + "?"
	}
	return "write it as in 512Mi or 2Gi"
}
