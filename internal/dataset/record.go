package dataset

import (
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// record is a batch of rows whose memory is in Arrow's layout. Arrow's own
// arrays over it are made when somebody asks for them: a single row of a
// request costs less to check than its arrays to make, and workers that speak
// JSON never need them. It is safe for concurrent use, and its memory is the
// garbage collector's: Retain and Release do nothing.
type record struct {
	schema *arrow.Schema
	rules  []*rule
	rows   int

	// Columns of a large record are its own. Those of a small one are pieces of
	// one memory, cut out when they are first needed: columns that hold no
	// pointers cost the collector nothing.
	columns []frozen
	memory  []byte
	pieces  []piece

	cut    sync.Once
	made   sync.Once
	arrays []arrow.Array
}

// piece is a finished column, or its child which follows it, in a record's memory.
type piece struct {
	nulls                int32
	valid, values, bytes span
}

type span struct{ start, end int32 }

func (s span) of(memory []byte) []byte { return memory[s.start:s.end:s.end] }

// finished returns the record's columns.
func (r *record) finished() []frozen {
	r.cut.Do(func() {
		if r.columns != nil {
			return
		}
		r.columns = make([]frozen, len(r.rules))
		pieces := r.pieces
		for i := range r.columns {
			pieces = r.columns[i].cut(r.rules[i], pieces, r.memory)
		}
	})
	return r.columns
}

func (f *frozen) cut(r *rule, pieces []piece, memory []byte) []piece {
	p := &pieces[0]
	f.nulls, f.values, f.bytes = int(p.nulls), p.values.of(memory), p.bytes.of(memory)
	if p.nulls > 0 {
		f.valid = p.valid.of(memory)
	}
	pieces = pieces[1:]
	if r.item != nil {
		f.child = new(frozen)
		pieces = f.child.cut(r.item, pieces, memory)
	}
	return pieces
}

var _ arrow.RecordBatch = (*record)(nil)

// frozen is a finished column.
type frozen struct {
	nulls  int
	valid  []byte // nil: no nulls
	values []byte // fixed-width values, or the offsets of strings and lists
	bytes  []byte // of strings
	child  *frozen
}

func (r *record) Retain()                  {}
func (r *record) Release()                 {}
func (r *record) Schema() *arrow.Schema    { return r.schema }
func (r *record) NumRows() int64           { return int64(r.rows) }
func (r *record) NumCols() int64           { return int64(len(r.rules)) }
func (r *record) ColumnName(i int) string  { return r.schema.Field(i).Name }
func (r *record) Column(i int) arrow.Array { return r.Columns()[i] }

// Columns returns all columns as Arrow arrays.
func (r *record) Columns() []arrow.Array {
	r.made.Do(func() {
		columns := r.finished()
		n := len(columns)
		// One allocation of each kind for the usual, flat columns.
		buffers := n
		for i := range columns {
			buffers += bit(columns[i].valid != nil)
		}
		m := &arrayMaker{
			buffers:  make([]memory.Buffer, 0, buffers),
			pointers: make([]*memory.Buffer, 0, 2*n),
			data:     make([]array.Data, 0, n),
		}
		r.arrays = make([]arrow.Array, n)
		for i := range columns {
			r.arrays[i] = array.MakeFromData(m.make(r.rules[i], &columns[i], r.rows))
		}
	})
	return r.arrays
}

// batch returns the rows as Arrow's own kind of record.
func (r *record) batch() arrow.RecordBatch {
	return array.NewRecordBatch(r.schema, r.Columns(), int64(r.rows))
}

func (r *record) SetColumn(i int, column arrow.Array) (arrow.RecordBatch, error) {
	return r.batch().SetColumn(i, column)
}

func (r *record) NewSlice(i, j int64) arrow.RecordBatch { return r.batch().NewSlice(i, j) }

func (r *record) MarshalJSON() ([]byte, error) { return r.batch().MarshalJSON() }

func (r *record) String() string { return fmt.Sprint(r.batch()) }

// arrayMaker turns frozen columns into Arrow's data, from few allocations.
type arrayMaker struct {
	buffers  []memory.Buffer
	pointers []*memory.Buffer
	data     []array.Data
}

func (m *arrayMaker) buffer(b []byte) *memory.Buffer {
	if len(m.buffers) == cap(m.buffers) {
		m.buffers = make([]memory.Buffer, 0, 16)
	}
	m.buffers = m.buffers[:len(m.buffers)+1]
	buffer := &m.buffers[len(m.buffers)-1]
	buffer.Reset(b)
	return buffer
}

func (m *arrayMaker) list(buffers ...*memory.Buffer) []*memory.Buffer {
	if len(m.pointers)+len(buffers) > cap(m.pointers) {
		m.pointers = make([]*memory.Buffer, 0, 16)
	}
	start := len(m.pointers)
	m.pointers = append(m.pointers, buffers...)
	return m.pointers[start:len(m.pointers):len(m.pointers)]
}

func (m *arrayMaker) make(r *rule, f *frozen, length int) *array.Data {
	if len(m.data) == cap(m.data) {
		m.data = make([]array.Data, 0, 8)
	}
	m.data = m.data[:len(m.data)+1]
	data := &m.data[len(m.data)-1]
	var valid *memory.Buffer
	if f.valid != nil {
		valid = m.buffer(f.valid)
	}
	var children []arrow.ArrayData
	var buffers []*memory.Buffer
	switch {
	case r.dictionary:
		buffers = m.list(valid, m.buffer(f.values))
	case r.kind == stringKind:
		buffers = m.list(valid, m.buffer(f.values), m.buffer(f.bytes))
	case r.kind == arrayKind && r.length > 0:
		buffers = m.list(valid)
		children = []arrow.ArrayData{m.make(r.item, f.child, length*r.length)}
	case r.kind == arrayKind:
		buffers = m.list(valid, m.buffer(f.values))
		children = []arrow.ArrayData{m.make(r.item, f.child, f.items(length))}
	default:
		buffers = m.list(valid, m.buffer(f.values))
	}
	data.Reset(r.arrow, length, buffers, children, f.nulls, 0)
	if r.dictionary {
		data.SetDictionary(r.levelData)
	}
	return data
}

// items counts the items of a list column.
func (f *frozen) items(length int) int {
	return int(arrow.Int32Traits.CastFromBytes(f.values)[length])
}

// smallRecord is the size up to which a record gets one piece of memory, and
// the builder keeps its own; larger columns are handed over.
const smallRecord = 256 << 10

// freeze makes the rows a record and empties the columns.
func (b *Builder) freeze(schema *arrow.Schema) *record {
	r := &record{schema: schema, rules: b.schema.rules, rows: b.rows}
	size, pieces := 0, 0
	for _, c := range b.columns {
		size += c.frozenSize()
		for ; c != nil; c = c.child {
			pieces++
		}
	}
	if size > smallRecord {
		r.columns = make([]frozen, len(b.columns))
		for i, c := range b.columns {
			c.handOver(&r.columns[i])
		}
		return r
	}
	cutter := cutter{memory: bytesOf(make([]int64, size/8)), pieces: make([]piece, pieces)}
	r.memory, r.pieces = cutter.memory, cutter.pieces
	for _, c := range b.columns {
		cutter.copy(c)
	}
	return r
}

func aligned(n int) int { return (n + 7) &^ 7 }

// frozenSize returns how many bytes freeze takes off its memory, at the most.
func (c *column) frozenSize() int {
	n := 0
	if c.nulls > 0 {
		n += aligned(len(c.valid))
	}
	switch c.layout() {
	case floatLayout, intLayout:
		n += 8 * c.length
	case codeLayout:
		n += aligned(4 * c.length)
	case bitLayout:
		n += aligned(len(c.bits))
	case textLayout:
		n += aligned(4*c.length+4) + aligned(len(c.bytes))
	case listLayout:
		n += aligned(4*c.length+4) + c.child.frozenSize()
	default:
		n += c.child.frozenSize()
	}
	return n
}

// cutter copies columns into a record's memory.
type cutter struct {
	memory []byte
	pieces []piece
	used   int // of memory
	next   int // of pieces
}

func (k *cutter) take(values []byte) span {
	start := k.used
	n := copy(k.memory[start:], values)
	k.used += aligned(n)
	return span{int32(start), int32(start + n)}
}

func (k *cutter) copy(c *column) {
	p := &k.pieces[k.next]
	k.next++
	p.nulls = int32(c.nulls)
	if c.nulls > 0 {
		p.valid = k.take(c.valid)
	}
	switch c.layout() {
	case floatLayout:
		p.values = k.take(bytesOf(c.floats))
	case intLayout:
		p.values = k.take(bytesOf(c.ints))
	case codeLayout:
		p.values = k.take(bytesOf(c.codes))
	case bitLayout:
		p.values = k.take(c.bits)
	case textLayout:
		c.offsets = startingAtZero(c.offsets)
		p.values = k.take(bytesOf(c.offsets))
		p.bytes = k.take(c.bytes)
	case listLayout:
		c.offsets = startingAtZero(c.offsets)
		p.values = k.take(bytesOf(c.offsets))
	}
	if c.child != nil {
		k.copy(c.child)
	}
	c.empty()
}

// handOver makes the column's memory f's, and takes new memory of the same
// size: the next batch is likely to be as large.
func (c *column) handOver(f *frozen) {
	f.nulls = c.nulls
	if c.nulls > 0 {
		f.valid = c.valid
	}
	switch c.layout() {
	case floatLayout:
		f.values = bytesOf(c.floats)
		c.floats = make([]float64, 0, c.length)
	case intLayout:
		f.values = bytesOf(c.ints)
		c.ints = make([]int64, 0, c.length)
	case codeLayout:
		f.values = bytesOf(c.codes)
		c.codes = make([]int32, 0, c.length)
	case bitLayout:
		f.values = c.bits
		c.bits = make([]byte, 0, len(c.bits))
	case textLayout:
		f.values, f.bytes = bytesOf(startingAtZero(c.offsets)), c.bytes
		c.offsets, c.bytes = make([]int32, 0, c.length+1), make([]byte, 0, len(c.bytes)+len(c.bytes)/8)
	case listLayout:
		f.values = bytesOf(startingAtZero(c.offsets))
		c.offsets = make([]int32, 0, c.length+1)
	}
	if c.child != nil {
		f.child = new(frozen)
		c.child.handOver(f.child)
	}
	c.valid, c.length, c.nulls = nil, 0, 0
}

// empty forgets the values and keeps the memory.
func (c *column) empty() {
	c.length, c.nulls = 0, 0
	switch c.valid = c.valid[:0]; c.layout() {
	case floatLayout:
		c.floats = c.floats[:0]
	case intLayout:
		c.ints = c.ints[:0]
	case codeLayout:
		c.codes = c.codes[:0]
	case bitLayout:
		c.bits = c.bits[:0]
	default:
		c.offsets, c.bytes = c.offsets[:0], c.bytes[:0]
	}
	if c.child != nil {
		c.child.empty()
	}
}
