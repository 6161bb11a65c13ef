package batch

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

const formatRows = 250

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func jsonLines() []byte {
	var b bytes.Buffer
	for i := 1; i <= formatRows; i++ {
		fmt.Fprintf(&b, "{\"id\":\"row-%d\",\"x\":%d}\n", i, i)
	}
	return b.Bytes()
}

func parquetFile(t *testing.T) []byte {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "x", Type: arrow.PrimitiveTypes.Float64}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := 1; i <= formatRows; i++ {
		builder.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("row-%d", i))
		builder.Field(1).(*array.Float64Builder).Append(float64(i))
	}
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &b, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(70)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(builder.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func workbook(t *testing.T) []byte {
	f := excelize.NewFile()
	defer f.Close()
	for i := range formatRows + 1 {
		row := []any{fmt.Sprintf("row-%d", i), i}
		if i == 0 {
			row = []any{"id", "x"}
		}
		if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &row); err != nil {
			t.Fatal(err)
		}
	}
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// outputColumns reads a job's output as one file, its ids and predictions.
func (w *world) outputColumns(t *testing.T, id string) (ids []string, ys []float64) {
	t.Helper()
	src := dataset.NewBytesSource([]byte(w.output(id)))
	schema, err := dataset.Compile([]modelmanager.Field{{Name: "id", Type: modelmanager.String}, {Name: "y", Type: modelmanager.Number}})
	if err != nil {
		t.Fatal(err)
	}
	input, err := dataset.Sniff(t.Context(), src, modelmanager.JobInput{}, schema)
	if err != nil {
		t.Fatal(err)
	}
	r, err := dataset.NewReader(t.Context(), src, input, schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		batch, err := r.Next()
		if err != nil {
			break
		}
		if len(batch.Rejected) > 0 {
			t.Fatal(batch.Rejected[0])
		}
		for i := range int(batch.Record.NumRows()) {
			ids = append(ids, batch.Record.Column(0).(*array.String).Value(i))
			ys = append(ys, batch.Record.Column(1).(*array.Float64).Value(i))
		}
	}
	return ids, ys
}

// Every format can become every other; rows keep their order, and their ids.
func TestFormats(t *testing.T) {
	w := newWorld(t, nil)
	var wantIDs []string
	var wantYs []float64
	for i := 1; i <= formatRows; i++ {
		wantIDs = append(wantIDs, fmt.Sprintf("row-%d", i))
		wantYs = append(wantYs, float64(2*i))
	}
	for name, data := range map[string][]byte{
		"a.csv": csv(formatRows, nil), "a.csv.gz": zipped(csv(formatRows, nil)), "a.jsonl": jsonLines(), "a.jsonl.gz": zipped(jsonLines()),
		"a.parquet": parquetFile(t), "a.xlsx": workbook(t),
	} {
		for _, format := range []string{"", "csv", "jsonl", "parquet", "xlsx"} {
			t.Run(name+" to "+format, func(t *testing.T) {
				request := w.request(w.file(name, data))
				request.Output.Format = format
				job := w.run(request)
				if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != formatRows || job.Shards.Total != 3 {
					t.Fatalf("%+v", job)
				}
				if format == "" && job.Output.Format != strings.TrimSuffix(strings.TrimPrefix(name, "a."), ".gz") {
					t.Errorf("the output is %s", job.Output.Format)
				}
				ids, ys := w.outputColumns(t, job.ID)
				if diff := cmp.Diff(wantIDs, ids); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(wantYs, ys); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// A compressed output is one file too, whatever its shards: each has its header
// as a member of its own.
func TestCompressedOutputs(t *testing.T) {
	w := newWorld(t, nil)
	plain := w.run(w.request(w.file("a.csv", csv(formatRows, nil))))
	want := map[string]string{"csv": w.output(plain.ID)}
	request := w.request(w.file("a.csv", csv(formatRows, nil)))
	request.Output.Format = "jsonl"
	want["jsonl"] = w.output(w.run(request).ID)
	for _, format := range []string{"csv", "jsonl"} {
		for compression, extension := range map[string]string{"gzip": ".gz", "zstd": ".zst"} {
			t.Run(format+extension, func(t *testing.T) {
				request := w.request(w.file("a.csv", csv(formatRows, nil)))
				request.Output.Compression = compression
				if format != "csv" {
					request.Output.Format = format
				}
				folder := filepath.Join(w.in, "out", format+extension)
				request.Output.URI = "file://" + folder
				job := w.run(request)
				if job.State != modelmanager.JobSucceeded || job.Shards.Total != 3 {
					t.Fatalf("%+v", job)
				}
				packed := w.output(job.ID)
				if text := unpacked(t, packed, compression); text != want[format] {
					t.Errorf("%.300s", cmp.Diff(want[format], text))
				}
				part, err := os.ReadFile(filepath.Join(folder, "part-00001."+format+extension))
				if err != nil {
					t.Fatal(err)
				}
				if text := unpacked(t, string(part), compression); len(text) == 0 || format == "csv" && !strings.HasPrefix(text, "id,x,y") {
					t.Errorf("a part: %.100s", text)
				}
				ids, _ := w.outputColumns(t, job.ID) // what reads inputs reads it, too
				if len(ids) != formatRows {
					t.Errorf("%d rows", len(ids))
				}
				sample, err := w.service.Sample(t.Context(), job.ID, 5)
				if err != nil || len(sample.Rows) != 5 {
					t.Errorf("a sample: %+v %v", sample, err)
				}
			})
		}
	}
	request.Output.Format, request.Output.Compression = "parquet", "gzip"
	if _, err := w.service.DryRun(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if job := w.run(request); job.Code != modelmanager.CodeInvalidInput || !strings.Contains(job.Reason, "compressed inside") {
		t.Errorf("compressed Parquet: %+v", job)
	}
	request.Output.Compression = "bzip2"
	if _, err := w.service.Submit(t.Context(), request); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
		t.Error(err)
	}
}

func unpacked(t *testing.T, data, compression string) string {
	t.Helper()
	var r io.Reader
	var err error
	if compression == "gzip" {
		r, err = gzip.NewReader(strings.NewReader(data))
	} else {
		r, err = zstd.NewReader(strings.NewReader(data))
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An output has the encoding of its input, however many shards wrote it.
func TestEncodings(t *testing.T) {
	w := newWorld(t, nil)
	var b strings.Builder
	b.WriteString("id,größe,x\r\n")
	for i := 1; i <= formatRows; i++ {
		fmt.Fprintf(&b, "zürich-%d,\"a \"\"b\"\", c\",%d\r\n", i, i)
	}
	want := strings.ReplaceAll(b.String(), "x\r\n", "x,y\r\n")
	for i := formatRows; i > 0; i-- {
		want = strings.Replace(want, fmt.Sprintf(",%d\r\n", i), fmt.Sprintf(",%d,%d\r\n", i, 2*i), 1)
	}
	for name, codec := range map[string]encoding.Encoding{
		"utf-8": encoding.Nop, "utf-8 with a mark": unicode.UTF8BOM, "windows-1252": charmap.Windows1252,
		"utf-16le": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
	} {
		t.Run(name, func(t *testing.T) {
			data, err := codec.NewEncoder().String(b.String())
			if err != nil {
				t.Fatal(err)
			}
			request := w.request(w.file("a.csv", []byte(data)))
			if name == "windows-1252" {
				request.Input.Encoding = name
			}
			job := w.run(request)
			if job.State != modelmanager.JobSucceeded || job.Shards.Total != 3 {
				t.Fatalf("%+v", job)
			}
			got, err := codec.NewDecoder().String(w.output(job.ID))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, strings.ReplaceAll(got, ".0\r", "\r")); diff != "" {
				t.Errorf("%.600s", diff)
			}
		})
	}
}

// Compressed inputs are split by an agent, too, and retried from their pieces.
func TestSplitByAgent(t *testing.T) {
	w := newWorld(t, nil)
	w.config.PlanHere = 1
	w.start()
	request := w.request(w.file("a.csv.gz", zipped(csv(formatRows, map[int]string{120: "x"}))))
	request.MaxRejected = "1"
	job := w.run(request)
	if job.State != modelmanager.JobSucceeded || job.Shards.Total != 3 || job.Rows.Rejected != 1 {
		t.Fatalf("%+v", job)
	}
	if diff := cmp.Diff(scored(formatRows, map[int]string{120: ""}), normal(w.output(job.ID))); diff != "" {
		t.Error(diff)
	}
	again, err := w.service.Retry(t.Context(), job.ID, "me", "")
	if err != nil {
		t.Fatal(err)
	}
	again = w.wait(again.ID)
	if rejected := w.rejected(again.ID); len(rejected) != 1 || rejected[0].Row != 120 || again.Rows.Read != 1 {
		t.Errorf("%+v %+v", again, rejected)
	}
}
