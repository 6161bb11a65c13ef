package dataset

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// columnValues returns a row of Arrow columns.
func columnValues(dst []value, record arrow.RecordBatch, row int) []value {
	for _, column := range record.Columns() {
		dst = append(dst, arrowValue(column, row))
	}
	return dst
}

// arrowValue returns one value of any Arrow column.
func arrowValue(column arrow.Array, i int) value {
	if column.IsNull(i) {
		return value{}
	}
	number := func(text []byte) value { return value{kind: valueNumber, text: text} }
	switch column := column.(type) {
	case *array.Dictionary:
		return arrowValue(column.Dictionary(), column.GetValueIndex(i))
	case *array.Boolean:
		return value{kind: valueBool, text: strconv.AppendBool(nil, column.Value(i))}
	case *array.Float64:
		return floatValue(column.Value(i), 64)
	case *array.Float32:
		return floatValue(float64(column.Value(i)), 32)
	case *array.Int64:
		return number(strconv.AppendInt(nil, column.Value(i), 10))
	case *array.Int32:
		return number(strconv.AppendInt(nil, int64(column.Value(i)), 10))
	case *array.Date32:
		return value{kind: valueText, text: appendDate(nil, int32(column.Value(i)))}
	case *array.Timestamp:
		return value{kind: valueText, text: timestampText(column, i)}
	case textArray:
		return value{kind: valueText, text: []byte(column.Value(i))}
	case *array.Binary:
		return value{kind: valueText, text: column.Value(i)}
	case *array.LargeBinary:
		return value{kind: valueText, text: column.Value(i)}
	case array.ListLike:
		return listValue(column, i)
	}
	if text := decimalText(column, i); text != "" {
		return number([]byte(text))
	}
	return anyValue(column, i)
}

func floatValue(v float64, bits int) value {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return value{kind: valueText, text: strconv.AppendFloat(nil, v, 'g', -1, bits)}
	}
	if bits == 64 {
		return value{kind: valueNumber, text: appendFloat(nil, v)}
	}
	return value{kind: valueNumber, text: strconv.AppendFloat(nil, v, 'g', -1, bits)}
}

func listValue(column array.ListLike, i int) value {
	start, end := column.ValueOffsets(i)
	text := []byte{'['}
	for j := start; j < end; j++ {
		if j > start {
			text = append(text, ',')
		}
		text = arrowValue(column.ListValues(), int(j)).appendJSON(text)
	}
	return value{kind: valueJSON, text: append(text, ']')}
}

// anyValue is for the types that are no feature's: they only pass through.
func anyValue(column arrow.Array, i int) value {
	text, err := json.Marshal(column.GetOneForMarshal(i))
	if err != nil || len(text) == 0 {
		return value{kind: valueText, text: []byte(column.ValueStr(i))}
	}
	return valueOf(text)
}

// timestampText writes an instant with its Z, and a naive one without.
func timestampText(column *array.Timestamp, i int) []byte {
	kind := column.DataType().(*arrow.TimestampType)
	layout := "2006-01-02T15:04:05.999999999"
	if kind.TimeZone != "" {
		layout += "Z"
	}
	return column.Value(i).ToTime(kind.Unit).AppendFormat(nil, layout)
}
