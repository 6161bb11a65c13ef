package dataset

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"

	modelmanager "modelmanager.dev"
)

const xlsxCellText = 32_767 // UTF-16 units that a cell holds

// SheetRows is how many rows an Excel sheet has below that of its header.
const SheetRows = excelize.TotalRows - 1

// FitsFormat refuses with CodeTooLarge a file of so many rows that its format
// can't hold: a workbook, of which only one sheet is made.
func FitsFormat(format string, rows int64) error {
	if format != formatXLSX || rows <= SheetRows {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeTooLarge,
		"an Excel file of %d rows can't be made: a sheet holds %d below its header, and several sheets aren't made; set output.format to csv or parquet", rows, SheetRows)
}

// xlsxWriter writes a workbook of one sheet. Rows go to a temporary file; the
// workbook is put together by close.
type xlsxWriter struct {
	w      *Writer
	out    io.Writer
	book   *xlsxBook
	cells  []any
	values []value
	escape bool // texts that would be formulas
}

// xlsxBook is a workbook under way.
type xlsxBook struct {
	file   *excelize.File
	stream *excelize.StreamWriter
	day    int // style of dates
	moment int // style of dates with a time of day
	row    int
}

func newXLSXBook(sheet string) (*xlsxBook, error) {
	b := &xlsxBook{file: excelize.NewFile()}
	var err error
	if sheet != "" && sheet != "Sheet1" {
		if err = b.file.SetSheetName("Sheet1", sheet); err != nil {
			sheet = "Sheet1"
		}
	} else {
		sheet = "Sheet1"
	}
	if b.stream, err = b.file.NewStreamWriter(sheet); err != nil {
		return nil, err
	}
	day, moment := "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
	if b.day, err = b.file.NewStyle(&excelize.Style{CustomNumFmt: &day}); err != nil {
		return nil, err
	}
	b.moment, err = b.file.NewStyle(&excelize.Style{CustomNumFmt: &moment})
	return b, err
}

// add writes a row.
func (b *xlsxBook) add(cells []any) error {
	if b.row > SheetRows { // the header is one more
		return FitsFormat(formatXLSX, int64(b.row))
	}
	b.row++
	for i, cell := range cells {
		if text, ok := cell.(string); ok && len(text) > xlsxCellText && len(utf16.Encode([]rune(text))) > xlsxCellText {
			return modelmanager.Errorf(modelmanager.CodeTooLarge,
				"row %d: the text in column %s is longer than a cell's %d characters; set output.format to csv or parquet", b.row, columnName(i), xlsxCellText)
		}
	}
	name, err := excelize.CoordinatesToCellName(1, b.row)
	if err != nil {
		return err
	}
	return b.stream.SetRow(name, cells)
}

func (b *xlsxBook) finish(out io.Writer) error {
	defer b.file.Close()
	if err := b.stream.Flush(); err != nil {
		return err
	}
	_, err := b.file.WriteTo(out)
	return err
}

func newXLSXWriter(out io.Writer, w *Writer) (*xlsxWriter, error) {
	columns := len(w.options.Header.Columns) + len(w.columns)
	if columns > excelize.MaxColumns {
		return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "the output has %d columns, and a sheet at most %d; set output.format to csv", columns, excelize.MaxColumns)
	}
	book, err := newXLSXBook(w.options.Input.Sheet)
	if err != nil {
		return nil, err
	}
	x := &xlsxWriter{w: w, out: out, book: book, escape: w.options.Output.Formulas == formulasEscape}
	for _, name := range w.options.Header.Columns {
		x.cells = append(x.cells, name)
	}
	for _, column := range w.columns {
		x.cells = append(x.cells, column.name)
	}
	return x, x.add()
}

// add writes the row that cells hold.
func (x *xlsxWriter) add() error {
	if x.escape {
		for i, cell := range x.cells {
			if text, ok := cell.(string); ok {
				x.cells[i] = escapeFormula(text)
			}
		}
	}
	return x.book.add(x.cells)
}

func (x *xlsxWriter) write(s *scored) error {
	width := len(x.w.options.Header.Columns)
	for _, p := range s.picks {
		x.cells = x.cells[:0]
		if block := s.batch.Extra.cells; block != nil {
			for i := range width {
				x.cells = append(x.cells, x.book.asIs(block, block.rows[p.row][i]))
			}
		} else {
			values, ok := s.inputValues(x.values[:0], p, x.w.options.Header, true)
			x.values = values
			if !ok {
				if err := s.unlisted(p); err != nil {
					return err
				}
			}
			for i := range width {
				var v value
				if i < len(values) {
					v = values[i]
				}
				x.cells = append(x.cells, x.book.cell(v, x.w.options.Header.isDate(i)))
			}
		}
		for _, column := range x.w.columns {
			x.cells = append(x.cells, x.book.cell(x.w.value(s, column, p), x.w.isDate(column)))
		}
		if err := x.add(); err != nil {
			return err
		}
	}
	return nil
}

// value returns a cell of a column after those of the input.
func (w *Writer) value(s *scored, column outputColumn, p pick) value {
	switch {
	case column.prediction >= 0:
		return s.answerValue(column, p)
	case column.name == errorColumn:
		return errorValue(p)
	default:
		return w.added(column.name)
	}
}

func (w *Writer) isDate(column outputColumn) bool {
	if column.prediction < 0 {
		return column.name == addScoredAt
	}
	r := w.options.Predictions.rules[column.prediction]
	if column.item >= 0 {
		r = r.item
	}
	return r.kind == dateKind || r.kind == timeKind
}

func (h *Header) isDate(column int) bool {
	return h.targets != nil && h.targets[column].feature >= 0 && (h.kinds[column] == dateKind || h.kinds[column] == timeKind)
}

// asIs writes a cell of a workbook again.
func (b *xlsxBook) asIs(block *xlsxRowsBlock, cell xlsxCell) any {
	switch cell.kind {
	case xlsxNumber:
		if cell.text != "" && cell.text != strconv.FormatFloat(cell.number, 'f', -1, 64) {
			return cell.text // a number would lose its last digits
		}
		return cell.number
	case xlsxBool:
		return cell.number == 1
	case xlsxText, xlsxFault:
		return cell.text
	case xlsxDate:
		serial, style := cell.number, b.day
		if block.book.from04 {
			serial += 1462 // this workbook counts from 1900
		}
		if serial != math.Floor(serial) {
			style = b.moment
		}
		return excelize.Cell{StyleID: style, Value: serial}
	}
	return nil
}

// cell writes a value as a spreadsheet has it.
func (b *xlsxBook) cell(v value, date bool) any {
	text := string(v.text)
	switch v.kind {
	case valueNull:
		return nil
	case valueBool:
		return text == "true"
	case valueNumber:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(number) > 1<<53 && number == math.Trunc(number) {
			return text // a number would lose its last digits
		}
		return number
	}
	if !date {
		return text
	}
	for _, form := range []struct {
		layout string
		style  int
	}{{time.DateOnly, b.day}, {time.RFC3339Nano, b.moment}, {"2006-01-02T15:04:05.999999999", b.moment}} {
		if at, err := time.Parse(form.layout, text); err == nil && at.Year() >= 1901 && at.Year() <= 9999 {
			serial := float64(at.UnixMilli())/86_400_000 + 25_569
			return excelize.Cell{StyleID: form.style, Value: serial}
		}
	}
	return text
}

func (x *xlsxWriter) close() error {
	if err := x.book.finish(x.out); err != nil {
		return fmt.Errorf("writing the workbook: %w", err)
	}
	return nil
}
