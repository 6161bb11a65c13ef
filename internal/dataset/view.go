package dataset

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
)

// view gives quick access to the values of a column of a schema's own type.
type view struct {
	rule   *rule
	offset int    // of the first value
	valid  []byte // nil: no nulls

	bits    []byte
	floats  []float64
	ints    []int64
	codes   []int32
	offsets []int32
	bytes   []byte
	item    *view
	levels  *view // of a dictionary that isn't the rule's own
}

// viewOf views column i of a record, which must be of the rule's Arrow type.
func viewOf(r *rule, batch arrow.RecordBatch, i int) view {
	if own, ok := batch.(*record); ok {
		f := &own.finished()[i]
		return newView(r, f.valid, f.values, f.bytes).withItems(f)
	}
	return viewOfData(r, batch.Column(i).Data())
}

func newView(r *rule, valid, values, bytes []byte) view {
	v := view{rule: r, valid: valid, bytes: bytes}
	switch r.stored {
	case floatLayout:
		v.floats = arrow.Float64Traits.CastFromBytes(values)
	case intLayout:
		v.ints = arrow.Int64Traits.CastFromBytes(values)
	case codeLayout:
		v.codes = arrow.Int32Traits.CastFromBytes(values)
	case bitLayout:
		v.bits = values
	case textLayout, listLayout:
		v.offsets = arrow.Int32Traits.CastFromBytes(values)
	}
	return v
}

func (v view) withItems(f *frozen) view {
	if f.child != nil {
		item := newView(v.rule.item, f.child.valid, f.child.values, f.child.bytes).withItems(f.child)
		v.item = &item
	}
	return v
}

func viewOfData(r *rule, data arrow.ArrayData) view {
	var parts [3][]byte
	for i, buffer := range data.Buffers() {
		if buffer != nil && i < len(parts) {
			parts[i] = buffer.Bytes()
		}
	}
	v := newView(r, parts[0], parts[1], parts[2])
	v.offset = data.Offset()
	if len(parts[0]) == 0 {
		v.valid = nil
	}
	if children := data.Children(); len(children) == 1 {
		item := viewOfData(r.item, children[0])
		v.item = &item
	}
	if r.dictionary && data.Dictionary() != arrow.ArrayData(r.levelData) {
		plain := *r
		plain.dictionary = false
		plain.stored = plain.layout()
		levels := viewOfData(&plain, data.Dictionary())
		v.levels = &levels
	}
	return v
}

// append writes value i as JSON.
func (v *view) append(dst []byte, i int) []byte {
	i += v.offset
	if v.valid != nil && v.valid[i>>3]>>(i&7)&1 == 0 {
		return append(dst, "null"...)
	}
	r := v.rule
	switch r.stored {
	case floatLayout:
		return appendFloat(dst, v.floats[i])
	case bitLayout:
		return strconv.AppendBool(dst, v.bits[i>>3]>>(i&7)&1 == 1)
	case textLayout:
		return appendString(dst, v.bytes[v.offsets[i]:v.offsets[i+1]])
	case intLayout:
		switch {
		case r.kind == timeKind:
			return append(appendTime(append(dst, '"'), v.ints[i]), '"')
		case r.long:
			return append(strconv.AppendInt(append(dst, '"'), v.ints[i], 10), '"')
		}
		return strconv.AppendInt(dst, v.ints[i], 10)
	case codeLayout:
		switch {
		case v.levels != nil:
			return v.levels.append(dst, int(v.codes[i]))
		case r.dictionary:
			return append(dst, r.levelJSON[v.codes[i]]...)
		}
		return append(appendDate(append(dst, '"'), v.codes[i]), '"')
	}
	start, end := i*r.length, (i+1)*r.length
	if r.stored == listLayout {
		start, end = int(v.offsets[i]), int(v.offsets[i+1])
	}
	dst = append(dst, '[')
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ',')
		}
		dst = v.item.append(dst, j)
	}
	return append(dst, ']')
}

func (s *Schema) views(record arrow.RecordBatch) []view {
	views := make([]view, len(s.rules))
	for i, r := range s.rules {
		views[i] = viewOf(r, record, i)
	}
	return views
}

func (s *Schema) appendRow(dst []byte, views []view, row int) []byte {
	dst = append(dst, '{')
	for i := range views {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, s.keys[i].quoted...)
		dst = views[i].append(dst, row)
	}
	return append(dst, '}')
}

// AppendRow writes a row as a JSON object, its keys in the order of fields. The
// record must have the schema's types.
func (s *Schema) AppendRow(dst []byte, record arrow.RecordBatch, row int) []byte {
	return s.appendRow(dst, s.views(record), row)
}

// AppendRows writes all rows as a JSON array of objects.
func (s *Schema) AppendRows(dst []byte, record arrow.RecordBatch) []byte {
	views := s.views(record)
	dst = append(dst, '[')
	for row := range int(record.NumRows()) {
		if row > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendRow(dst, views, row)
	}
	return append(dst, ']')
}

// AppendColumns writes a record as a JSON object of arrays.
func (s *Schema) AppendColumns(dst []byte, record arrow.RecordBatch) []byte {
	dst = append(dst, '{')
	rows := int(record.NumRows())
	for i, r := range s.rules {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, s.keys[i].quoted...), '[')
		v := viewOf(r, record, i)
		for row := range rows {
			if row > 0 {
				dst = append(dst, ',')
			}
			dst = v.append(dst, row)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// AppendPredictions writes the array of a request's answer: one object a row of
// the request, and null for each that was rejected or that refused names.
// Record holds the accepted rows; refused counts rows in it.
func (s *Schema) AppendPredictions(dst []byte, record arrow.RecordBatch, request *Request, refused []modelmanager.RowError) []byte {
	bad := make(map[int64]bool, len(refused))
	for _, e := range refused {
		bad[e.Row] = true
	}
	var views []view
	if record != nil { // nil where no row was accepted
		views = s.views(record)
	}
	dst = append(dst, '[')
	at := 0
	for row := range request.Rows {
		if row > 0 {
			dst = append(dst, ',')
		}
		accepted := request.Accepted == nil || at < len(request.Accepted) && int(request.Accepted[at]) == row
		if !accepted {
			dst = append(dst, "null"...)
			continue
		}
		if bad[int64(at)] {
			dst = append(dst, "null"...)
		} else {
			dst = s.appendRow(dst, views, at)
		}
		at++
	}
	return append(dst, ']')
}
