package dataset

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"
)

// csvDecoder turns CSV records into rows.
type csvDecoder struct {
	builder *Builder
	header  *Header
	delim   byte
	rules   *TextRules
	coded   string // the encoding, if it isn't UTF-8

	whole []columnTarget // features that have one column
	lists []listTarget   // features whose items have a column each
	items []*rule        // per feature, of its items

	cells   []csvCell
	scratch []byte
	json    []byte
}

// columnTarget is a column whose cells are a feature's.
type columnTarget struct{ column, feature int }

// listTarget is a feature whose items are several columns' cells.
type listTarget struct {
	feature int
	columns []int // in the items' order
}

// splitTargets sorts a binding by how cells become features.
func splitTargets(b *binding) (whole []columnTarget, lists []listTarget) {
	for column, to := range b.targets {
		switch {
		case to.feature < 0:
		case to.item < 0:
			whole = append(whole, columnTarget{column, to.feature})
		default:
			i := slices.IndexFunc(lists, func(l listTarget) bool { return l.feature == to.feature })
			if i < 0 {
				i = len(lists)
				lists = append(lists, listTarget{feature: to.feature})
			}
			for len(lists[i].columns) <= to.item {
				lists[i].columns = append(lists[i].columns, -1)
			}
			lists[i].columns[to.item] = column
		}
	}
	return whole, lists
}

func (o opening) openCSV() (*Header, batchSource, error) {
	src := o.src
	if o.slice.Offset > 0 {
		src = headOf(src) // the header alone is read
	}
	scanner, closer, marked, err := openScanner(o.ctx, src, o.input, 0, -1)
	if err != nil {
		return nil, nil, err
	}
	header, err := csvHeader(scanner, o.input, marked)
	if err != nil {
		closer.Close()
		return nil, nil, err
	}
	if o.slice.Offset > 0 {
		closer.Close()
		scanner, closer, _, err = openScanner(o.ctx, o.src, o.input, o.slice.Offset, o.slice.Length)
		if err != nil {
			return nil, nil, err
		}
	}
	bound, err := bindHeader(o.schema, header.Columns, o.input)
	if err == nil {
		_, err = newTextRules(o.input)
	}
	if err != nil {
		closer.Close()
		return nil, nil, err
	}
	header.bind(o.schema, bound)
	whole, lists := splitTargets(bound)
	return header, newTextSource(o, scanner, closer, func() textDecoder {
		rules, _ := newTextRules(o.input)
		d := &csvDecoder{
			builder: NewBuilder(o.schema), header: header, delim: scanner.delim, rules: rules,
			whole: whole, lists: lists, items: itemRules(o.schema),
		}
		if encoding, err := lookupEncoding(defaultTo(o.input.Encoding, encodingUTF8)); err == nil && encoding.codec != nil {
			d.coded = encoding.name
		}
		return d
	}), nil
}

func (d *csvDecoder) decode(block *textBlock) (*Batch, error) {
	extra := Extra{header: d.header, csv: &csvRows{textBlock: block, delim: d.delim, null: d.rules.Null}}
	c := newRowCollector(d.builder, block.firstRow)
	// Whole blocks are nearly always clean, and cheap to check as a whole.
	clean := utf8.Valid(block.text) && bytes.IndexByte(block.text, 0) < 0 &&
		(d.coded == "" || !bytes.Contains(block.text, replacement))
	for i := range block.rows() {
		raw := block.row(i)
		if !clean {
			if fault := d.unclean(raw); fault != "" {
				c.refuse(fault, &extra)
				continue
			}
		}
		quotes := block.quotes != nil && block.quotes[i]
		var ok bool
		d.cells, ok = splitRecord(d.cells[:0], raw, d.delim, quotes)
		if !ok {
			c.refuse("text follows a closing quote; double a quote that belongs to the text", &extra)
			continue
		}
		if len(d.cells) != len(d.header.Columns) {
			c.refuse(fmt.Sprintf("the row has %d cells, and the header %d", len(d.cells), len(d.header.Columns)), &extra)
			continue
		}
		d.row(raw, quotes)
		c.endRow(FillAbsent, &extra)
	}
	return c.finish(extra), nil
}

// row sets the features of one row.
func (d *csvDecoder) row(raw []byte, quotes bool) {
	if !quotes {
		for _, t := range d.whole {
			cell := d.cells[t.column]
			d.builder.SetText(t.feature, raw[cell.start:cell.end], false, d.rules)
		}
	} else {
		d.scratch = d.scratch[:0]
		for _, t := range d.whole {
			cell := d.cells[t.column]
			var text []byte
			text, d.scratch = cell.text(raw, d.scratch)
			d.builder.SetText(t.feature, text, cell.quoted, d.rules)
		}
	}
	for _, l := range d.lists {
		d.json = append(d.json[:0], '[')
		for i, column := range l.columns {
			if i > 0 {
				d.json = append(d.json, ',')
			}
			cell := d.cells[column]
			text, _ := cell.text(raw, nil)
			d.json = d.items[l.feature].appendItem(d.json, text, cell.quoted, d.rules)
		}
		d.json = append(d.json, ']')
		d.builder.SetValue(l.feature, d.json)
	}
}

// replacement is what a decoder writes for bytes that are no character.
var replacement = []byte("\uFFFD")

func (d *csvDecoder) unclean(raw []byte) string {
	switch {
	case bytes.IndexByte(raw, 0) >= 0:
		return "the row has a NUL byte"
	case !utf8.Valid(raw):
		return "the row is not valid UTF-8; say input.encoding if the file is in another encoding"
	case d.coded != "" && bytes.Contains(raw, replacement):
		return "the row has bytes that are no character in " + d.coded
	}
	return ""
}

func itemRules(s *Schema) []*rule {
	rules := make([]*rule, len(s.rules))
	for i, r := range s.rules {
		rules[i] = r.item
	}
	return rules
}
