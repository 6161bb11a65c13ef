package dataset

import (
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// cast turns a Parquet column into what a rule checks.
type cast struct {
	rule *rule
	from arrow.DataType // of a dictionary its values'
	zone *time.Location // of naive timestamps
}

// castColumn is a column as one of few kinds of values. Of a dictionary it has
// the distinct values, and where each row's is among them.
type castColumn struct {
	rule    *rule
	nulls   arrow.Array // tells which rows are null
	index   []int32     // of a dictionary; nil: the row itself
	source  arrow.Array // the values as they were read
	floats  []float64
	ints    []int64
	bools   *array.Boolean
	texts   textArray
	days    []int32
	micros  []int64
	json    bool           // take source's JSON
	faults  map[int]string // values that can't be cast
	allNull bool
}

// textArray is a column of strings, long or short, or of bytes.
type textArray interface {
	arrow.Array
	Value(int) string
}

type bytesArray struct{ *array.Binary }

func (a bytesArray) Value(i int) string { return string(a.Binary.Value(i)) }

type largeBytesArray struct{ *array.LargeBinary }

func (a largeBytesArray) Value(i int) string { return string(a.LargeBinary.Value(i)) }

// newCast checks that a type can become what the rule wants; fault says why not.
func newCast(from arrow.DataType, r *rule, zone *time.Location) (_ *cast, fault string) {
	if dictionary, ok := from.(*arrow.DictionaryType); ok {
		from = dictionary.ValueType
	}
	c := &cast{rule: r, from: from, zone: zone}
	id := from.ID()
	text := id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.BINARY || id == arrow.LARGE_BINARY
	number := arrow.IsInteger(id) || arrow.IsFloating(id) || arrow.IsDecimal(id)
	fits := id == arrow.NULL
	switch r.kind {
	case floatKind, intKind:
		fits = fits || number
	case boolKind:
		fits = fits || id == arrow.BOOL
	case stringKind:
		fits = fits || text
	case dateKind:
		fits = fits || text || id == arrow.DATE32 || id == arrow.DATE64 || id == arrow.TIMESTAMP
	case timeKind:
		fits = fits || text || id == arrow.TIMESTAMP
		if t, ok := from.(*arrow.TimestampType); ok && t.TimeZone == "" && zone == nil {
			return nil, "its timestamps have no timezone: set input.timezone, to UTC for instance"
		}
	case arrayKind:
		fits = fits || text || id == arrow.LIST || id == arrow.LARGE_LIST || id == arrow.FIXED_SIZE_LIST
	}
	if !fits {
		return nil, fmt.Sprintf("its column is of type %s, and the feature needs %s", from, r.noun())
	}
	return c, ""
}

// apply casts one batch's column.
func (c *cast) apply(column arrow.Array) (*castColumn, error) {
	result := &castColumn{rule: c.rule, nulls: column, source: column}
	if dictionary, ok := column.(*array.Dictionary); ok {
		result.index = make([]int32, dictionary.Len())
		for i := range result.index {
			if dictionary.IsValid(i) {
				result.index[i] = int32(dictionary.GetValueIndex(i))
			}
		}
		result.source = dictionary.Dictionary()
	}
	switch values := result.source.(type) {
	case *array.Null:
		result.allNull = true
	case *array.Boolean:
		result.bools = values
	case *array.Float64:
		result.floats = values.Float64Values()
	case *array.Float32:
		result.floats = convert[float32, float64](values.Float32Values())
		c.checkSingles(result)
	case *array.Float16:
		result.floats = make([]float64, values.Len())
		for i := range result.floats {
			result.floats[i] = float64(values.Value(i).Float32())
		}
	case *array.Int64:
		result.ints = values.Int64Values()
	case *array.Int32:
		result.ints = convert[int32, int64](values.Int32Values())
	case *array.Int16:
		result.ints = convert[int16, int64](values.Int16Values())
	case *array.Int8:
		result.ints = convert[int8, int64](values.Int8Values())
	case *array.Uint32:
		result.ints = convert[uint32, int64](values.Uint32Values())
	case *array.Uint16:
		result.ints = convert[uint16, int64](values.Uint16Values())
	case *array.Uint8:
		result.ints = convert[uint8, int64](values.Uint8Values())
	case *array.Uint64:
		result.ints = convert[uint64, int64](values.Uint64Values())
		for i, v := range values.Uint64Values() {
			if v > 1<<63-1 {
				result.fault(i, strconv.FormatUint(v, 10)+" is beyond 64 bits")
			}
		}
	case *array.Date32:
		result.days = make([]int32, values.Len())
		for i, day := range values.Date32Values() {
			result.days[i] = int32(day)
		}
	case *array.Date64:
		result.days = make([]int32, values.Len())
		for i, v := range values.Date64Values() {
			result.days[i] = int32(floorDiv(int64(v), 86_400_000))
		}
	case *array.Timestamp:
		c.timestamps(result, values)
	case *array.List, *array.LargeList, *array.FixedSizeList:
		result.json = true
	case textArray:
		result.texts = values
	case *array.Binary:
		result.texts = bytesArray{values}
	case *array.LargeBinary:
		result.texts = largeBytesArray{values}
	default:
		if decimalText(values, 0) == "" && values.Len() > 0 {
			return nil, fmt.Errorf("a column of type %s can't be read", values.DataType())
		}
		c.decimals(result, values)
	}
	return result, nil
}

// checkSingles refuses integers that a float of 32 bits may have rounded.
func (c *cast) checkSingles(result *castColumn) {
	if c.rule.kind != intKind {
		return
	}
	for i, v := range result.floats {
		if whole(v) && (v >= 1<<24 || v <= -1<<24) {
			result.fault(i, strconv.FormatFloat(v, 'f', -1, 64)+" is a float of 32 bits beyond ±16777215 (2^24−1), where integers are rounded: "+
				"keep the column as integers, or as doubles, from its source on")
		}
	}
}

func convert[From, To int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64](values []From) []To {
	out := make([]To, len(values))
	for i, v := range values {
		out[i] = To(v)
	}
	return out
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// timestamps makes microseconds of UTC; what is finer is cut off.
func (c *cast) timestamps(result *castColumn, values *array.Timestamp) {
	kind := values.DataType().(*arrow.TimestampType)
	result.micros = make([]int64, values.Len())
	for i, v := range values.TimestampValues() {
		var micros int64
		switch kind.Unit {
		case arrow.Second:
			micros = int64(v) * microsPerSecond
		case arrow.Millisecond:
			micros = int64(v) * 1000
		case arrow.Microsecond:
			micros = int64(v)
		default:
			micros = floorDiv(int64(v), 1000)
		}
		limit := int64(v)
		if values.IsNull(i) {
			continue
		}
		if kind.Unit == arrow.Second && (limit > 1<<43 || limit < -1<<43) || kind.Unit == arrow.Millisecond && (limit > 1<<53 || limit < -1<<53) {
			result.fault(i, "a date-time lies between the years 0001 and 9999")
			continue
		}
		if kind.TimeZone == "" && c.rule.kind == timeKind && c.zone != nil {
			days := floorDiv(micros, microsPerDay)
			if days < minDay || days > maxDay {
				result.fault(i, "a date-time lies between the years 0001 and 9999")
				continue
			}
			at, fault := moment{days: int32(days), micros: micros - days*microsPerDay}.in(c.zone)
			if fault != "" {
				result.fault(i, string(appendTime(nil, micros))+" "+fault)
				continue
			}
			micros = at
		}
		result.micros[i] = micros
	}
}

// decimals makes the nearest doubles, or exact integers of an integer feature.
func (c *cast) decimals(result *castColumn, values arrow.Array) {
	n := values.Len()
	exact := c.rule.kind == intKind
	if exact {
		result.ints = make([]int64, n)
	} else {
		result.floats = make([]float64, n)
	}
	for i := range n {
		if values.IsNull(i) {
			continue
		}
		text := decimalText(values, i)
		if !exact {
			result.floats[i], _ = strconv.ParseFloat(text, 64) // beyond a double: ±Inf, which is refused
			continue
		}
		r, ok := new(big.Rat).SetString(text)
		switch {
		case !ok || !r.IsInt():
			result.fault(i, text+" is not an integer")
		case !r.Num().IsInt64():
			result.fault(i, text+" is beyond 64 bits")
		default:
			result.ints[i] = r.Num().Int64()
		}
	}
}

// decimalText writes a decimal exactly; "" if the column has none.
func decimalText(values arrow.Array, i int) string {
	switch values := values.(type) {
	case *array.Decimal32:
		return scaled(strconv.FormatInt(int64(values.Value(i)), 10), values.DataType().(*arrow.Decimal32Type).Scale)
	case *array.Decimal64:
		return scaled(strconv.FormatInt(int64(values.Value(i)), 10), values.DataType().(*arrow.Decimal64Type).Scale)
	case *array.Decimal128:
		return scaled(values.Value(i).BigInt().String(), values.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Decimal256:
		return scaled(values.Value(i).BigInt().String(), values.DataType().(*arrow.Decimal256Type).Scale)
	}
	return ""
}

// scaled puts the decimal point into a number's digits.
func scaled(digits string, scale int32) string {
	if scale <= 0 {
		return digits + zeros(int(-scale))
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := int(scale) + 1 - len(digits); missing > 0 {
		digits = zeros(missing) + digits
	}
	point := len(digits) - int(scale)
	return sign + digits[:point] + "." + digits[point:]
}

func zeros(n int) string {
	text := make([]byte, max(n, 0))
	for i := range text {
		text[i] = '0'
	}
	return string(text)
}

func (c *castColumn) fault(i int, text string) {
	if c.faults == nil {
		c.faults = map[int]string{}
	}
	c.faults[i] = text
}

// at returns where the row's value is; −1 if it is null.
func (c *castColumn) at(row int) int {
	if c.allNull || c.nulls.IsNull(row) {
		return -1
	}
	if c.index == nil {
		return row
	}
	if i := int(c.index[row]); c.source.IsValid(i) {
		return i
	}
	return -1
}

// set hands one value to the builder.
func (c *castColumn) set(b *Builder, feature, row int) {
	i := c.at(row)
	if i < 0 {
		b.SetNull(feature)
		return
	}
	if fault, ok := c.faults[i]; ok {
		if b.first(feature) {
			b.problem(feature, "%s", fault)
		}
		return
	}
	switch {
	case c.floats != nil:
		b.SetFloat(feature, c.floats[i])
	case c.ints != nil:
		b.SetInt(feature, c.ints[i])
	case c.bools != nil:
		b.SetBool(feature, c.bools.Value(i))
	case c.texts != nil && c.rule.kind == arrayKind:
		b.SetValue(feature, []byte(c.texts.Value(i)))
	case c.texts != nil:
		b.setUTF8(feature, c.texts.Value(i))
	case c.days != nil:
		b.SetDate(feature, c.days[i])
	case c.micros != nil:
		b.SetTime(feature, c.micros[i])
	case c.json && c.rule.item != nil && c.rule.item.long:
		b.SetValue(feature, appendLongs(nil, c.source, i))
	default:
		b.SetValue(feature, arrowValue(c.source, i).appendJSON(nil))
	}
}

// appendLongs writes a list for items with format int64, which are strings in
// JSON beyond 2^53.
func appendLongs(dst []byte, column arrow.Array, i int) []byte {
	list, ok := column.(array.ListLike)
	if !ok {
		return arrowValue(column, i).appendJSON(dst)
	}
	items, ok := list.ListValues().(*array.Int64)
	if !ok {
		return arrowValue(column, i).appendJSON(dst)
	}
	dst = append(dst, '[')
	start, end := list.ValueOffsets(i)
	for j := int(start); j < int(end); j++ {
		if j > int(start) {
			dst = append(dst, ',')
		}
		if items.IsNull(j) {
			dst = append(dst, "null"...)
		} else {
			dst = appendLong(dst, items.Value(j))
		}
	}
	return append(dst, ']')
}

func appendLong(dst []byte, v int64) []byte {
	return append(strconv.AppendInt(append(dst, '"'), v, 10), '"')
}

// appendJSON writes one value as JSON, for the items of a list.
func (c *castColumn) appendJSON(dst []byte, row int) []byte {
	i := c.at(row)
	switch {
	case i < 0:
		return append(dst, "null"...)
	case c.faults[i] != "":
		return appendString(dst, c.faults[i])
	case c.micros != nil:
		return append(appendTime(append(dst, '"'), c.micros[i]), '"')
	case c.ints != nil && c.rule.long:
		return appendLong(dst, c.ints[i])
	default:
		return arrowValue(c.source, i).appendJSON(dst)
	}
}
