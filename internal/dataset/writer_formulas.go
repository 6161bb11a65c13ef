package dataset

import (
	"bytes"
	"unicode/utf8"

	modelmanager "modelmanager.dev"
)

// formulasEscape is the output.formulas that makes texts stay texts in a
// spreadsheet; the default, formulasKeep, leaves every cell as it is.
const (
	formulasEscape = "escape"
	formulasKeep   = "keep"
)

func checkFormulas(formulas string) error {
	switch formulas {
	case "", formulasKeep, formulasEscape:
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput, "output.formulas: %q is neither keep nor escape", formulas)
}

// formula tells whether a spreadsheet would take a text for a formula: it
// begins like one, perhaps in the full-width form that some take for the same,
// or with a character that is dropped before one, and is no number.
func formula(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	first, width := utf8.DecodeRune(text)
	switch first {
	case '=', '@', '\t', '\r', '\n', '＝', '＠':
		return true
	case '+', '-', '＋', '－':
		return !plainNumber(text[width:])
	}
	return false
}

// mayHaveFormula tells whether a formula may begin somewhere in a text.
func mayHaveFormula(text []byte) bool {
	return bytes.ContainsAny(text, "=+-@\t\r\n") || bytes.Contains(text, fullWidth)
}

// fullWidth begins the full-width forms, ＝ ＋ － ＠ among them, in UTF-8.
var fullWidth = []byte("\xef\xbc")

// plainNumber tells whether a text is digits, with marks between them (1.5,
// 1,5, 1.000,50) and perhaps an exponent.
func plainNumber(text []byte) bool {
	digits := func() int {
		n := 0
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		text = text[n:]
		return n
	}
	whole := digits()
	for len(text) > 0 && (text[0] == '.' || text[0] == ',') {
		text = text[1:]
		after := digits()
		if whole += after; after == 0 && len(text) > 0 {
			return false
		}
	}
	if whole == 0 {
		return false
	}
	if len(text) > 0 && (text[0] == 'e' || text[0] == 'E') {
		if text = text[1:]; len(text) > 0 && (text[0] == '+' || text[0] == '-') {
			text = text[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return len(text) == 0
}

// escapeFormula puts an apostrophe before a text that would be a formula:
// spreadsheets then show the text.
func escapeFormula(text string) string {
	if formula([]byte(text)) {
		return "'" + text
	}
	return text
}

// appendEscaped copies a CSV record cell by cell, with the texts that would be
// formulas escaped. All other cells stay byte for byte.
func (c *csvWriter) appendEscaped(dst, raw []byte, quotes bool) []byte {
	if !mayHaveFormula(raw) {
		return append(dst, raw...)
	}
	c.cells, _ = splitRecord(c.cells[:0], raw, c.delim, quotes)
	copied := 0
	for _, cell := range c.cells {
		text, _ := cell.text(raw, nil)
		if !formula(text) {
			continue
		}
		dst = append(dst, raw[copied:cell.start]...) // with the quote that opens the cell
		dst = append(dst, '\'')
		copied = int(cell.start)
	}
	return append(dst, raw[copied:]...)
}
