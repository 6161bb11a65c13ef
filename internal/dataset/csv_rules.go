package dataset

import (
	"bytes"
	"math"
	"time"

	modelmanager "modelmanager.dev"
)

// newTextRules says how a sniffed input's cells are read.
func newTextRules(input modelmanager.JobInput) (*TextRules, error) {
	rules := &TextRules{Decimal: '.', Null: input.Null, Dates: input.Dates}
	if input.Decimal == "," {
		rules.Decimal = ','
	}
	if len(rules.Null) == 0 || len(rules.Null) == 1 && rules.Null[0] == "" {
		rules.Null = nil // the same, and quicker
	}
	if input.Dates == "YYYY-MM-DD" || input.Dates == "ISO" || input.Dates == "iso" {
		rules.Dates = ""
	}
	if input.Timezone != "" {
		zone, err := time.LoadLocation(input.Timezone)
		if err != nil || input.Timezone == "Local" { // the server's own is nobody's business
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"input.timezone: there is no timezone %q; write one as in Europe/Berlin, or UTC", input.Timezone)
		}
		rules.Timezone = zone
	}
	return rules, nil
}

// appendItem writes a cell as the JSON of one item of an array. A cell that
// doesn't fit becomes a string, for the builder to refuse.
func (r *rule) appendItem(dst, text []byte, quoted bool, rules *TextRules) []byte {
	if !quoted && rules.isNull(text) {
		return append(dst, "null"...)
	}
	if r.kind == stringKind {
		return appendString(dst, text)
	}
	cell := trim(text)
	switch r.kind {
	case floatKind, intKind:
		if len(cell) == 0 {
			break
		}
		if isNumber(cell) {
			return append(dst, cell...)
		}
		if v, ok := cellFloat(cell, rules.decimal()); ok && !math.IsInf(v, 0) {
			return appendFloat(dst, v)
		}
	case boolKind:
		if bytes.EqualFold(cell, []byte("true")) || bytes.EqualFold(cell, []byte("false")) {
			return append(dst, bytes.ToLower(cell)...)
		}
	case dateKind:
		if rules.Dates == "" {
			break
		}
		if at, fault := parseLayout(cell, rules.Dates); fault == "" && at.micros == 0 {
			return append(appendDate(append(dst, '"'), at.days), '"')
		}
	case timeKind:
		at, fault := parseNaive(cell)
		if rules.Dates != "" {
			at, fault = parseLayout(cell, rules.Dates)
		}
		if fault != "" || rules.Timezone == nil {
			break
		}
		if micros, fault := at.in(rules.Timezone); fault == "" {
			return append(appendTime(append(dst, '"'), micros), '"')
		}
	}
	return appendString(dst, cell)
}
