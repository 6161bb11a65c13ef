package dataset

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"modelmanager.dev"
)

// view gives quick access to the values of a column of a schema's own type.
type view struct {
	rule   *rule
	array  arrow.Array
	nulls  bool
	bools  *array.Boolean
	floats []float64
	ints   []int64
	days   []int32
	codes  *array.Dictionary
	own    bool // the dictionary is the rule's
	texts  *array.String
	lists  array.ListLike
	item   *view
}

// viewOf expects an array of the rule's Arrow type.
func viewOf(r *rule, a arrow.Array) view {
	v := view{rule: r, array: a, nulls: a.NullN() > 0}
	switch a := a.(type) {
	case *array.Boolean:
		v.bools = a
	case *array.Float64:
		v.floats = a.Float64Values()
	case *array.Int64:
		v.ints = a.Int64Values()
	case *array.Timestamp:
		v.ints = arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(a.TimestampValues()))
	case *array.Date32:
		v.days = arrow.Int32Traits.CastFromBytes(arrow.Date32Traits.CastToBytes(a.Date32Values()))
	case *array.String:
		v.texts = a
	case *array.Dictionary:
		v.codes = a
		v.own = a.Data().Dictionary() == arrow.ArrayData(r.levelData)
		if !v.own {
			plain := *r
			plain.dictionary = false
			item := viewOf(&plain, a.Dictionary())
			v.item = &item
		}
	case array.ListLike:
		v.lists = a
		item := viewOf(r.item, a.ListValues())
		v.item = &item
	}
	return v
}

// append writes value i as JSON.
func (v *view) append(dst []byte, i int) []byte {
	if v.nulls && v.array.IsNull(i) {
		return append(dst, "null"...)
	}
	r := v.rule
	if v.codes != nil {
		code := v.codes.GetValueIndex(i)
		if v.own {
			return append(dst, r.levelJSON[code]...)
		}
		return v.item.append(dst, code)
	}
	switch r.kind {
	case boolKind:
		return strconv.AppendBool(dst, v.bools.Value(i))
	case floatKind:
		return appendFloat(dst, v.floats[i])
	case intKind:
		if r.long {
			return append(strconv.AppendInt(append(dst, '"'), v.ints[i], 10), '"')
		}
		return strconv.AppendInt(dst, v.ints[i], 10)
	case stringKind:
		return appendString(dst, v.texts.Value(i))
	case dateKind:
		return append(appendDate(append(dst, '"'), v.days[i]), '"')
	case timeKind:
		return append(appendTime(append(dst, '"'), v.ints[i]), '"')
	}
	dst = append(dst, '[')
	start, end := v.lists.ValueOffsets(i)
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ',')
		}
		dst = v.item.append(dst, int(j))
	}
	return append(dst, ']')
}

func (s *Schema) views(record arrow.RecordBatch) []view {
	views := make([]view, len(s.rules))
	for i, r := range s.rules {
		views[i] = viewOf(r, record.Column(i))
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
		v := viewOf(r, record.Column(i))
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
