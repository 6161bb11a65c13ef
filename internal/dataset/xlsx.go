package dataset

import (
	"context"
	"io"
	"math"
	"strconv"
	"time"
	"unsafe"

	modelmanager "modelmanager.dev"
)

// sniffXLSX chooses the sheet and the header row.
func sniffXLSX(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema) (modelmanager.JobInput, error) {
	book, err := openWorkbook(ctx, src)
	if err != nil {
		return input, err
	}
	defer book.close()
	part, err := book.sheet(input.Sheet)
	if err != nil {
		return input, err
	}
	input.Sheet = part.name
	rows, err := book.open(part)
	if err != nil {
		return input, err
	}
	defer rows.close()
	var sample csvSample
	for len(sample.rows) < sniffRows {
		cells, err := rows.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return input, err
		}
		sample.rows = append(sample.rows, xlsxNames(cells))
		sample.lines = append(sample.lines, int64(rows.number))
	}
	if len(sample.rows) == 0 {
		return input, errNoHeader
	}
	sample.findHeader(input, s)
	if input.HeaderRow == 0 {
		input.HeaderRow = int(sample.lines[sample.at])
	}
	for i := range sample.rows[sample.at+1:] { // short rows are no fault here
		row := &sample.rows[sample.at+1+i]
		for len(*row) < len(sample.rows[sample.at]) {
			*row = append(*row, "")
		}
	}
	return input, sample.sniffDates(&input, s)
}

// xlsxNames are the texts of a row, without empty cells at its end.
func xlsxNames(cells []xlsxCell) []string {
	for len(cells) > 0 && cells[len(cells)-1].kind == xlsxEmpty {
		cells = cells[:len(cells)-1]
	}
	names := make([]string, len(cells))
	for i, cell := range cells {
		switch cell.kind {
		case xlsxText, xlsxFault:
			names[i] = cell.text
		case xlsxNumber:
			names[i] = strconv.FormatFloat(cell.number, 'f', -1, 64)
		}
	}
	return names
}

// xlsxSource streams a range of a sheet's rows.
type xlsxSource struct {
	book    *workbook
	rows    *sheetReader
	header  *Header
	bound   *binding
	schema  *Schema
	builder *Builder
	rules   *TextRules
	whole   []columnTarget
	lists   []listTarget
	size    int   // rows of a batch
	bytes   int   // of a batch
	row     int64 // number of the next data row
	left    int64 // −1: all
}

// xlsxRowsBlock is some rows of a sheet.
type xlsxRowsBlock struct {
	book *workbook
	rows [][]xlsxCell
}

// openData opens the sheet behind its header row.
func openData(ctx context.Context, src Source, input modelmanager.JobInput) (*workbook, *sheetReader, *Header, error) {
	book, err := openWorkbook(ctx, src)
	if err != nil {
		return nil, nil, nil, err
	}
	part, err := book.sheet(input.Sheet)
	if err != nil {
		return nil, nil, nil, err
	}
	rows, err := book.open(part)
	if err != nil {
		book.close()
		return nil, nil, nil, err
	}
	for {
		cells, err := rows.next()
		if err == io.EOF {
			err = errNoHeader
		}
		if err != nil {
			rows.close()
			book.close()
			return nil, nil, nil, err
		}
		if rows.number >= input.HeaderRow {
			return book, rows, &Header{Columns: xlsxNames(cells), newline: "\n"}, nil
		}
	}
}

func xlsxRows(ctx context.Context, src Source, input modelmanager.JobInput) (int64, error) {
	book, rows, _, err := openData(ctx, src, input)
	if err != nil {
		return 0, err
	}
	defer book.close()
	defer rows.close()
	for n := int64(0); ; n++ {
		if _, err := rows.next(); err != nil {
			if err == io.EOF {
				return n, nil
			}
			return 0, err
		}
	}
}

func (o opening) openXLSX() (*Header, batchSource, error) {
	book, rows, header, err := openData(o.ctx, o.src, o.input)
	if err != nil {
		return nil, nil, err
	}
	x := &xlsxSource{book: book, rows: rows, header: header, schema: o.schema, size: o.opts.BatchRows, bytes: o.opts.BatchBytes, row: max(o.slice.FirstRow, 1), left: -1}
	if o.slice.Rows > 0 {
		x.left = o.slice.Rows
	}
	if x.bound, err = bindHeader(o.schema, header.Columns, o.input); err == nil {
		x.rules, err = newTextRules(o.input)
	}
	for skip := x.row - 1; skip > 0 && err == nil; skip-- {
		if _, err = rows.next(); err == io.EOF {
			err = nil // next will say so
			break
		}
	}
	if err != nil {
		x.close()
		return nil, nil, err
	}
	header.bind(o.schema, x.bound)
	x.whole, x.lists = splitTargets(x.bound)
	x.builder = NewBuilder(o.schema)
	return header, x, nil
}

func (x *xlsxSource) close() error {
	x.book.close()
	return x.rows.close()
}

func (x *xlsxSource) next() (*Batch, error) {
	block := &xlsxRowsBlock{book: x.book}
	extra := Extra{header: x.header, cells: block}
	c := newRowCollector(x.builder, x.row)
	for bytes := 0; c.batch.Rows < x.size && bytes < x.bytes && x.left != 0; {
		cells, err := x.rows.next()
		if err == io.EOF {
			if x.left > 0 {
				return nil, fewerRows(x.left)
			}
			break
		}
		if err != nil {
			return nil, err
		}
		for len(cells) > len(x.header.Columns) && cells[len(cells)-1].kind == xlsxEmpty {
			cells = cells[:len(cells)-1]
		}
		row := make([]xlsxCell, max(len(cells), len(x.header.Columns)))
		copy(row, cells)
		block.rows = append(block.rows, row)
		bytes += xlsxSize(row)
		if x.left > 0 {
			x.left--
		}
		switch {
		case x.rows.fault != "":
			c.refuse("row "+strconv.Itoa(x.rows.number)+" of the sheet: "+x.rows.fault, &extra)
		case len(cells) > len(x.header.Columns):
			c.refuse("row "+strconv.Itoa(x.rows.number)+" of the sheet has a cell in column "+columnName(len(cells)-1)+", which has no header", &extra)
		default:
			x.setRow(row)
			c.endRow(FillAbsent, &extra)
		}
	}
	if c.batch.Rows == 0 {
		return nil, io.EOF
	}
	x.row += int64(c.batch.Rows)
	return c.finish(extra), nil
}

// xlsxSize is how many bytes a row's cells have: what is kept of each, and its text.
func xlsxSize(row []xlsxCell) int {
	size := len(row) * int(unsafe.Sizeof(xlsxCell{}))
	for i := range row {
		size += len(row[i].text)
	}
	return size
}

func (x *xlsxSource) setRow(row []xlsxCell) {
	for _, t := range x.whole {
		x.set(t.feature, row[t.column])
	}
	for _, l := range x.lists {
		text := []byte{'['}
		for i, column := range l.columns {
			if i > 0 {
				text = append(text, ',')
			}
			if cell := row[column]; cell.kind == xlsxText {
				text = x.schema.rules[l.feature].item.appendItem(text, []byte(cell.text), false, x.rules)
			} else {
				text = x.book.value(cell).appendJSON(text)
			}
		}
		x.builder.SetValue(l.feature, append(text, ']'))
	}
}

// set hands one cell to the builder. A number is a text where the feature is
// one: spreadsheets make numbers of codes and ids.
func (x *xlsxSource) set(feature int, cell xlsxCell) {
	b, r := x.builder, x.schema.rules[feature]
	switch cell.kind {
	case xlsxEmpty:
		b.SetNull(feature)
	case xlsxText:
		b.SetText(feature, []byte(cell.text), false, x.rules)
	case xlsxBool:
		b.SetBool(feature, cell.number == 1)
	case xlsxNumber:
		switch {
		case (r.kind == stringKind || r.kind == intKind) && math.Abs(cell.number) >= 1e15:
			x.refuse(feature, string(x.book.value(cell).text)+" is a number of more than 15 digits, which spreadsheet programs cut off: "+
				"format the column as text before its values are entered, or send another format")
		case r.kind == stringKind:
			b.SetString(feature, strconv.AppendFloat(nil, cell.number, 'f', -1, 64))
		default:
			b.SetFloat(feature, cell.number)
		}
	case xlsxDate:
		x.setDate(feature, r, cell.number)
	case xlsxFault:
		x.refuse(feature, cell.text+" is an error of the sheet's formula")
	default:
		x.refuse(feature, "is a formula whose value was not saved; open the workbook in a spreadsheet program and save it")
	}
}

func (x *xlsxSource) refuse(feature int, message string) {
	if x.builder.first(feature) {
		x.builder.problem(feature, "%s", message)
	}
}

func (x *xlsxSource) setDate(feature int, r *rule, serial float64) {
	at, ok := x.book.moment(serial)
	naive := int64(at.days)*microsPerDay + at.micros
	switch {
	case !ok:
		x.refuse(feature, "is shown as a date, and "+strconv.FormatFloat(serial, 'g', -1, 64)+" is none")
	case r.kind == timeKind && x.rules.Timezone == nil:
		x.refuse(feature, "is a date of a spreadsheet, which has no timezone; name it (input.timezone)")
	case r.kind == timeKind:
		micros, fault := at.in(x.rules.Timezone)
		if fault != "" {
			x.refuse(feature, string(appendTime(nil, naive))+" "+fault)
			return
		}
		x.builder.SetTime(feature, micros)
	case at.micros == 0:
		x.builder.SetDate(feature, at.days)
	default:
		x.builder.SetTime(feature, naive)
	}
}

// values returns a row's cells.
func (b *xlsxRowsBlock) values(dst []value, row, width int) []value {
	cells := b.rows[row]
	for i := range width {
		if i < len(cells) {
			dst = append(dst, b.book.value(cells[i]))
		} else {
			dst = append(dst, value{})
		}
	}
	return dst
}

func (w *workbook) value(cell xlsxCell) value {
	switch cell.kind {
	case xlsxNumber:
		if cell.text != "" {
			return value{kind: valueNumber, text: []byte(cell.text)}
		}
		if cell.number == math.Trunc(cell.number) && math.Abs(cell.number) < 1<<53 {
			return value{kind: valueNumber, text: strconv.AppendInt(nil, int64(cell.number), 10)}
		}
		return floatValue(cell.number, 64)
	case xlsxBool:
		return value{kind: valueBool, text: strconv.AppendBool(nil, cell.number == 1)}
	case xlsxText, xlsxFault:
		return value{kind: valueText, text: []byte(cell.text)}
	case xlsxDate:
		at, ok := w.moment(cell.number)
		if !ok {
			return floatValue(cell.number, 64)
		}
		if at.micros == 0 {
			return value{kind: valueText, text: appendDate(nil, at.days)}
		}
		t := time.UnixMicro(int64(at.days)*microsPerDay + at.micros).UTC()
		return value{kind: valueText, text: t.AppendFormat(nil, "2006-01-02T15:04:05.999")}
	}
	return value{}
}
