package dataset

import (
	"strings"

	modelmanager "modelmanager.dev"
)

// dateLayouts are the layouts that are recognised besides ISO 8601, with and
// without leading zeros. Those of one group mean the same.
var dateLayouts = [...][]string{
	{"DD/MM/YYYY", "D/M/YYYY"},
	{"MM/DD/YYYY", "M/D/YYYY"},
	{"YYYY/MM/DD", "YYYY/M/D"},
	{"DD.MM.YYYY", "D.M.YYYY"},
	{"DD-MM-YYYY", "D-M-YYYY"},
	{"MM-DD-YYYY", "M-D-YYYY"},
	{"YYYYMMDD"},
	{"YYYY.MM.DD"},
	{"DD/MM/YY"},
	{"MM/DD/YY"},
	{"DD.MM.YY"},
}

// timeLayouts may follow a date.
var timeLayouts = [...]string{"", " HH:mm", " HH:mm:ss", "THH:mm", "THH:mm:ss"}

// dateSniffer looks for a layout that every date has.
type dateSniffer struct {
	iso     string // a date written as ISO 8601 says
	example string // one that isn't
	failed  map[string]bool
}

func (d *dateSniffer) add(text string) {
	raw := []byte(text)
	if _, fault := parseNaive(raw); fault == "" {
		d.iso = text
		return
	}
	if _, fault := parseTime(raw); fault == "" {
		d.iso = text
		return
	}
	var failed []string
	fits := false
	for _, group := range dateLayouts {
		for _, day := range group {
			for _, clock := range timeLayouts {
				if _, fault := parseLayout(raw, day+clock); fault == "" {
					fits = true
				} else {
					failed = append(failed, day+clock)
				}
			}
		}
	}
	if !fits {
		return // no date at all: its row will be rejected and say so
	}
	d.example = text
	if d.failed == nil {
		d.failed = map[string]bool{}
	}
	for _, layout := range failed {
		d.failed[layout] = true
	}
}

// layout returns "" for ISO 8601, and an error where more than one layout, or
// none, fits all dates.
func (d *dateSniffer) layout() (string, error) {
	if d.example == "" {
		return "", nil
	}
	if d.iso != "" {
		return "", modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"dates are written both as %s and as %s; write them in one way, or set input.dates (ISO takes YYYY-MM-DD, and rejects the other rows)", d.iso, d.example)
	}
	var left []string
	for _, group := range dateLayouts {
		if layout := d.groupLayout(group); layout != "" {
			left = append(left, layout)
		}
	}
	switch len(left) {
	case 0:
		return "", modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"dates such as %s have no layout in common; write them as YYYY-MM-DD, or set input.dates (the rows that don't fit it are rejected)", d.example)
	case 1:
		return left[0], nil
	default:
		return "", modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"dates such as %s can be read as %s; set input.dates", d.example, strings.Join(left, " or as "))
	}
}

func (d *dateSniffer) groupLayout(group []string) string {
	for _, day := range group {
		for _, clock := range timeLayouts {
			if !d.failed[day+clock] {
				return day + clock
			}
		}
	}
	return ""
}
