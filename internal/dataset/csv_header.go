package dataset

import (
	"bytes"
	"context"
	"io"
	"strings"
	"unicode/utf8"

	modelmanager "modelmanager.dev"
)

// delimiterOf reads JobInput.Delimiter.
func delimiterOf(input modelmanager.JobInput) (byte, error) {
	switch d := input.Delimiter; {
	case d == "":
		return ',', nil
	case d == "tab", d == `\t`:
		return '\t', nil
	case len(d) == 1 && d[0] < utf8.RuneSelf && !strings.Contains("\"\r\n\x00", d):
		return d[0], nil
	default:
		return 0, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"input.delimiter: %q can't separate cells; it is one ASCII character such as \",\", \";\" or \"|\", or the word tab", d)
	}
}

// delimiterName is how JobInput shows a delimiter.
func delimiterName(d byte) string {
	if d == '\t' {
		return "tab"
	}
	return string(d)
}

// openScanner opens a CSV or JSON Lines text at an offset. At the start of the
// file a byte order mark is skipped, and reported.
func openScanner(ctx context.Context, src Source, input modelmanager.JobInput, offset, length int64) (*recordScanner, io.Closer, bool, error) {
	encoding, err := lookupEncoding(defaultTo(input.Encoding, encodingUTF8))
	if err != nil {
		return nil, nil, false, err
	}
	delim, err := delimiterOf(input)
	if err != nil {
		return nil, nil, false, err
	}
	text, err := openText(ctx, src, input, offset, length)
	if err != nil {
		return nil, nil, false, err
	}
	scanner := newRecordScanner(text, delim, offset)
	scanner.lines = input.Format == formatJSONL
	if encoding.codec != nil {
		scanner.width = encoding.width
		if encoding.width == nil { // then nobody uses the offsets
			scanner.width = func(decoded []byte) int64 { return int64(len(decoded)) }
		}
	}
	marked := false
	if offset == 0 {
		if marked, err = scanner.skipBOM(); err != nil {
			text.Close()
			return nil, nil, false, err
		}
	}
	return scanner, text, marked, nil
}

// csvHeader reads on to the header row and leaves the scanner at the first
// data row.
func csvHeader(scanner *recordScanner, input modelmanager.JobInput, marked bool) (*Header, error) {
	row := int64(max(input.HeaderRow, 1))
	for {
		raw, err := scanner.next()
		if err == io.EOF {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"the file ends before its header row (line %d); a CSV file begins with the columns' names", row)
		}
		if err != nil {
			return nil, err
		}
		if scanner.recordLine < row {
			continue
		}
		header := &Header{bom: marked, newline: scanner.newline, raw: bytes.Clone(raw)}
		header.Columns, err = headerCells(raw, scanner.delim)
		if err != nil {
			return nil, err
		}
		if header.newline == "" {
			header.newline = "\n"
		}
		header.data, header.line = scanner.offset, scanner.line
		scanner.record = 0
		return header, nil
	}
}

// headerCells returns the names in a header.
func headerCells(raw []byte, delim byte) ([]string, error) {
	if !utf8.Valid(raw) {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the header is not valid UTF-8; say input.encoding, windows-1252 for instance")
	}
	cells, ok := splitRecord(nil, raw, delim, bytes.IndexByte(raw, '"') >= 0)
	if !ok {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the header has text after a closing quote; double a quote that belongs to a name")
	}
	names := make([]string, len(cells))
	for i, cell := range cells {
		text, _ := cell.text(raw, nil)
		names[i] = string(text)
	}
	return names, nil
}
