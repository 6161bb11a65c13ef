package dataset

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/thrift/lib/go/thrift"
	"golang.org/x/sync/errgroup"
)

// parquetFile is a Parquet file, with an index behind its end of the pages that
// its plan has found.
//
// Many writers put a million rows into a row group, and no index. To get to a
// shard's rows the library then reads, and decompresses, every page before them:
// ten shards read such a group five times and a half. The pages' own headers say
// how many rows each has. They are read once, for the plan, which tells each shard
// where to begin; in the index's own form the library finds its way by that.
type parquetFile struct {
	*sourceAt
	reader     *file.Reader
	properties *parquet.ReaderProperties // of reader
	index      []byte
}

// ReadAt reads len(p) bytes, or fewer with io.EOF.
func (f *parquetFile) ReadAt(p []byte, offset int64) (int, error) {
	if size := f.src.Size(); offset >= size && len(f.index) > 0 {
		return bytes.NewReader(f.index).ReadAt(p, offset-size)
	}
	return f.sourceAt.ReadAt(p, offset)
}

// hasLists tells whether a row may have several values of a column. The library
// (arrow-go 18.8) finds rows of flat columns alone: in a list it counts items that
// belong to the row before, and what it then reads is another row's.
func (f *parquetFile) hasLists() bool {
	columns := f.reader.MetaData().Schema
	for i := range columns.NumColumns() {
		if columns.Column(i).MaxRepetitionLevel() > 0 {
			return true
		}
	}
	return false
}

const (
	// A row group is read through where it has fewer bytes than this.
	indexWorth = 8 << 20
	// Starts that a plan may hold: of each column, in each shard.
	maxPageStarts = 200_000
	// Columns whose headers are read side by side.
	indexAtOnce = 32
	// Most headers are shorter; those with statistics of long texts aren't.
	pageHeaderSize    = 512
	maxPageHeaderSize = 1 << 20
)

// PageStart is the page of a column that holds a slice's first row.
type PageStart struct {
	Offset int64 `json:"offset"` // in the file; 0: it isn't known
	Row    int64 `json:"row"`    // the page's first, counted from the row group's
}

// planParquet cuts a file by its footer, and finds where slices begin that
// begin in the midst of a row group.
func planParquet(ctx context.Context, src Source, rowsPerShard int64) (_ []Slice, err error) {
	defer guardParquet(&err)
	f, err := openParquetFile(ctx, src)
	if err != nil {
		return nil, err
	}
	defer f.reader.Close()
	slices, err := planRows(f.reader.NumRows(), rowsPerShard)
	if err != nil || f.hasLists() || len(slices)*f.reader.MetaData().Schema.NumColumns() > maxPageStarts {
		return slices, err
	}
	return slices, f.findPages(slices, indexWorth)
}

// findPages finds where slices begin in row groups of at least so many bytes. The
// file has no lists: of these, headers may count items.
func (f *parquetFile) findPages(slices []Slice, worth int64) error {
	start := int64(0)
	for group := range f.reader.NumRowGroups() {
		end := start + f.reader.MetaData().RowGroup(group).NumRows()
		for len(slices) > 0 && slices[0].FirstRow-1 <= start {
			slices = slices[1:]
		}
		inside := 0
		for inside < len(slices) && slices[inside].FirstRow-1 < end {
			inside++
		}
		if err := f.findPagesIn(group, start, slices[:inside], worth); err != nil {
			return parquetError(err)
		}
		start, slices = end, slices[inside:]
	}
	return nil
}

// findPagesIn is findPages of one row group, whose first row has a number in the
// file, counted from 0.
func (f *parquetFile) findPagesIn(group int, first int64, slices []Slice, worth int64) error {
	chunks := f.reader.MetaData().RowGroups[group].GetColumns()
	size := int64(0)
	for _, chunk := range chunks {
		if chunk.OffsetIndexOffset != nil || chunk.MetaData == nil {
			return nil // it has an index, or is encrypted
		}
		size += chunk.MetaData.TotalCompressedSize
	}
	if len(slices) == 0 || size < worth {
		return nil
	}
	rows := make([]int64, len(slices))
	for i := range slices {
		rows[i] = slices[i].FirstRow - 1 - first
		slices[i].Pages = make([]PageStart, len(chunks))
	}
	columns, ctx := errgroup.WithContext(f.ctx)
	columns.SetLimit(indexAtOnce)
	for column, chunk := range chunks {
		columns.Go(func() error {
			offset := chunk.MetaData.DataPageOffset
			end := offset
			if dictionary := chunk.MetaData.DictionaryPageOffset; dictionary != nil {
				end = min(end, *dictionary)
			}
			end += chunk.MetaData.TotalCompressedSize
			return f.pagesOf(ctx, offset, end, rows, func(i int, page PageStart) { slices[i].Pages[column] = page })
		})
	}
	return columns.Wait()
}

// pagesOf reads the headers of a column's pages, and tells in which page each of
// some rows is. The rows are in order.
func (f *parquetFile) pagesOf(ctx context.Context, offset, end int64, rows []int64, tell func(i int, page PageStart)) error {
	next := 0
	for seen := int64(0); next < len(rows); {
		header, size, err := f.readPageHeader(ctx, offset, end)
		if err != nil {
			return err
		}
		length := size + header.compressed
		if header.compressed < 0 || offset+length > end {
			return errors.New("a page is longer than its column")
		}
		if header.rows >= 0 {
			for ; next < len(rows) && rows[next] < seen+header.rows; next++ {
				tell(next, PageStart{Offset: offset, Row: seen})
			}
			seen += header.rows
		}
		offset += length
	}
	return nil
}

// know takes in where a slice begins in a row group.
func (f *parquetFile) know(group int, pages []PageStart) error {
	chunks := f.reader.MetaData().RowGroups[group].GetColumns()
	if len(pages) != len(chunks) {
		return nil
	}
	for i, page := range pages {
		var index metadata.OffsetIndexBuilder
		if err := index.AddPage(page.Offset, page.Row, 0); err != nil {
			return err
		}
		if err := index.Finish(0); err != nil {
			return err
		}
		var text bytes.Buffer
		if _, err := index.WriteTo(&text, nil); err != nil {
			return err
		}
		chunks[i].OffsetIndexOffset = new(f.src.Size() + int64(len(f.index)))
		chunks[i].OffsetIndexLength = new(int32(text.Len()))
		f.index = append(f.index, text.Bytes()...)
	}
	return nil
}

// pageHeader is what is needed of a page's header.
type pageHeader struct {
	compressed int64 // bytes of the page behind its header
	rows       int64 // −1: it is no page of data
}

// readPageHeader reads the header at an offset, and returns its size in bytes.
func (f *parquetFile) readPageHeader(ctx context.Context, offset, end int64) (pageHeader, int64, error) {
	for size := int64(pageHeaderSize); ; size *= 4 {
		size = min(size, end-offset)
		if size <= 0 {
			return pageHeader{}, 0, io.ErrUnexpectedEOF
		}
		data := make([]byte, size)
		if _, err := f.exactly(data, offset); err != nil {
			return pageHeader{}, 0, err
		}
		header, used, err := parsePageHeader(ctx, data)
		if err == nil || size == end-offset || size >= maxPageHeaderSize {
			return header, used, err
		}
	}
}

// parsePageHeader reads a PageHeader of the format's Thrift definition
// (github.com/apache/parquet-format), as the compact protocol has it.
func parsePageHeader(ctx context.Context, data []byte) (header pageHeader, used int64, err error) {
	transport := thrift.NewTMemoryBufferLen(len(data))
	_, _ = transport.Write(data)
	p := thrift.NewTCompactProtocolConf(transport, &thrift.TConfiguration{MaxMessageSize: maxPageHeaderSize, MaxFrameSize: maxPageHeaderSize})
	header = pageHeader{compressed: -1, rows: -1}
	const compressedSize, dataPage, dataPageV2, values, rows = 3, 5, 8, 1, 3
	err = eachField(ctx, p, func(id int16, kind thrift.TType) (err error) {
		switch {
		case id == compressedSize && kind == thrift.I32:
			header.compressed, err = readInt(ctx, p)
		case id == dataPage && kind == thrift.STRUCT:
			header.rows, err = countField(ctx, p, values)
		case id == dataPageV2 && kind == thrift.STRUCT:
			header.rows, err = countField(ctx, p, rows)
		default:
			err = thrift.SkipDefaultDepth(ctx, p, kind)
		}
		return err
	})
	return header, int64(len(data) - transport.Len()), err
}

// countField reads a struct, and returns one of its integers.
func countField(ctx context.Context, p thrift.TProtocol, field int16) (count int64, err error) {
	count = -1
	err = eachField(ctx, p, func(id int16, kind thrift.TType) (err error) {
		if id == field && kind == thrift.I32 {
			count, err = readInt(ctx, p)
			return err
		}
		return thrift.SkipDefaultDepth(ctx, p, kind)
	})
	if err == nil && count < 0 {
		err = errors.New("a page's header doesn't say how many values it has")
	}
	return count, err
}

func readInt(ctx context.Context, p thrift.TProtocol) (int64, error) {
	n, err := p.ReadI32(ctx)
	return int64(n), err
}

// eachField reads a struct.
func eachField(ctx context.Context, p thrift.TProtocol, read func(id int16, kind thrift.TType) error) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, kind, id, err := p.ReadFieldBegin(ctx)
		if err != nil {
			return err
		}
		if kind == thrift.STOP {
			return p.ReadStructEnd(ctx)
		}
		if err := read(id, kind); err != nil {
			return err
		}
		if err := p.ReadFieldEnd(ctx); err != nil {
			return err
		}
	}
}
