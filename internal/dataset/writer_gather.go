package dataset

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// plainType is a type without dictionaries and fixed-size lists: Parquet has
// neither, and readers of every language know what is left.
func plainType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return plainType(t.ValueType)
	case *arrow.FixedSizeListType:
		return arrow.ListOfField(plainItem(t.ElemField()))
	case *arrow.ListType:
		return arrow.ListOfField(plainItem(t.ElemField()))
	}
	return t
}

func plainItem(item arrow.Field) arrow.Field {
	return arrow.Field{Name: "element", Type: plainType(item.Type), Nullable: true}
}

// plainArray turns an array into one of its plainType.
func plainArray(a arrow.Array) arrow.Array {
	switch a := a.(type) {
	case *array.Dictionary:
		return plainDictionary(a)
	case *array.FixedSizeList, *array.List:
		return plainList(a.(array.ListLike))
	}
	return a
}

func plainDictionary(a *array.Dictionary) arrow.Array {
	values := plainArray(a.Dictionary())
	b := array.NewBuilder(memory.DefaultAllocator, values.DataType())
	for i := range a.Len() {
		if a.IsNull(i) || values.IsNull(a.GetValueIndex(i)) {
			b.AppendNull()
			continue
		}
		switch values := values.(type) {
		case *array.String:
			b.(*array.StringBuilder).Append(values.Value(a.GetValueIndex(i)))
		case *array.Int64:
			b.(*array.Int64Builder).Append(values.Value(a.GetValueIndex(i)))
		case *array.Float64:
			b.(*array.Float64Builder).Append(values.Value(a.GetValueIndex(i)))
		default:
			if b.AppendValueFromString(values.ValueStr(a.GetValueIndex(i))) != nil {
				b.AppendNull()
			}
		}
	}
	return b.NewArray()
}

// plainList makes a list whose null rows have no items.
func plainList(a array.ListLike) arrow.Array {
	rows := a.Len()
	offsets := make([]int32, 1, rows+1)
	var items []int
	var valid []byte
	for i := range rows {
		ok := a.IsValid(i)
		valid = setBit(valid, i, ok)
		if ok {
			start, end := a.ValueOffsets(i)
			for j := start; j < end; j++ {
				items = append(items, int(j))
			}
		}
		offsets = append(offsets, int32(len(items)))
	}
	child, err := gather(plainArray(a.ListValues()), items)
	if err != nil {
		return a
	}
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(bytesOf(offsets))}
	if a.NullN() > 0 {
		buffers[0] = memory.NewBufferBytes(valid)
	}
	data := array.NewData(plainType(a.DataType()), rows, buffers, []arrow.ArrayData{child.Data()}, a.NullN(), 0)
	return array.MakeFromData(data)
}

// gather picks rows of an array, null where the index is −1. Runs of
// neighbours, the usual case, are copied as wholes.
func gather(a arrow.Array, rows []int) (arrow.Array, error) {
	var runs []arrow.Array
	for i := 0; i < len(rows); {
		j := i + 1
		if rows[i] < 0 {
			for j < len(rows) && rows[j] < 0 {
				j++
			}
			runs = append(runs, array.MakeArrayOfNull(memory.DefaultAllocator, a.DataType(), j-i))
		} else {
			for j < len(rows) && rows[j] == rows[j-1]+1 {
				j++
			}
			if i == 0 && j == len(rows) && j == a.Len() {
				return a, nil
			}
			runs = append(runs, array.NewSlice(a, int64(rows[i]), int64(rows[i]+j-i)))
		}
		i = j
	}
	switch len(runs) {
	case 0:
		return array.NewSlice(a, 0, 0), nil
	case 1:
		return runs[0], nil
	}
	return array.Concatenate(runs, memory.DefaultAllocator)
}
