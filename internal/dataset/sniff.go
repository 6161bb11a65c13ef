package dataset

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	modelmanager "modelmanager.dev"
)

// sniffBytes is how much of a text is looked at.
const sniffBytes = 512 << 10

// Sniff finds out how a file is to be read, and fills it into the empty fields
// of input. What is given stays. What the file leaves open is not guessed: the
// error names the options. With a schema, the header row, decimal commas and
// dates are recognised by its features; s may be nil.
func Sniff(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema) (modelmanager.JobInput, error) {
	if src.Size() == 0 {
		input.Compression = compressionNone
		return sniffNothing(input, "the file is empty")
	}
	if err := sniffCompression(ctx, src, &input); err != nil {
		return input, err
	}
	head, all, err := readHead(ctx, src, input.Compression)
	if err != nil {
		return input, err
	}
	if len(head) == 0 {
		return sniffNothing(input, "the file is empty once it is decompressed")
	}
	if err := sniffFormat(head, &input); err != nil {
		return input, err
	}
	switch input.Format {
	case formatParquet:
		return input, notCompressed(input)
	case formatXLSX:
		if err := notCompressed(input); err != nil {
			return input, err
		}
		return sniffXLSX(ctx, src, input, s)
	}
	if err := sniffEncoding(ctx, src, head, &input); err != nil {
		return input, err
	}
	if len(input.Null) == 0 && input.Format == formatCSV {
		input.Null = []string{""}
	}
	if input.Format == formatJSONL {
		return input, nil
	}
	return sniffCSV(ctx, src, input, s, all)
}

// sniffNothing reads a file without a byte: JSON Lines without rows, if it is
// said to be that. Every other format says its columns at the least.
func sniffNothing(input modelmanager.JobInput, empty string) (modelmanager.JobInput, error) {
	if err := sniffFormat(nil, &input); err != nil {
		return input, err
	}
	if input.Format != formatJSONL {
		return input, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"%s; without rows, it has the names of its columns at the least, or is called .jsonl", empty)
	}
	input.Encoding = defaultTo(input.Encoding, encodingUTF8)
	return input, nil
}

func notCompressed(input modelmanager.JobInput) error {
	if input.Compression == "" || input.Compression == compressionNone {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"the file is %s within %s; %s files are compressed inside: send it without %s",
		input.Format, input.Compression, input.Format, input.Compression)
}

func sniffCompression(ctx context.Context, src Source, input *modelmanager.JobInput) error {
	magic := make([]byte, 4)
	r, err := src.ReadAt(ctx, 0, 4)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.ReadFull(r, magic)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if input.Compression != "" {
		return nil
	}
	switch {
	case bytes.HasPrefix(magic[:n], []byte{0x1f, 0x8b}):
		input.Compression = compressionGzip
	case bytes.HasPrefix(magic[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		input.Compression = compressionZstd
	default:
		input.Compression = compressionNone
	}
	return nil
}

// readHead reads the beginning of the file, decompressed, and tells whether
// that is all of it.
func readHead(ctx context.Context, src Source, compression string) ([]byte, bool, error) {
	length := int64(-1)
	if compression == compressionNone {
		length = sniffBytes + 1
	}
	r, err := openPlain(ctx, headOf(src), compression, 0, length)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	head, err := io.ReadAll(io.LimitReader(r, sniffBytes+1))
	if err != nil {
		return nil, false, err
	}
	if len(head) > sniffBytes {
		return head[:sniffBytes], false, nil
	}
	return head, true, nil
}

// sniffFormat looks at the content first, then at the name.
func sniffFormat(head []byte, input *modelmanager.JobInput) error {
	if input.Format != "" {
		input.Format = strings.ToLower(input.Format)
		switch input.Format {
		case formatCSV, formatJSONL, formatParquet, formatXLSX:
			return nil
		}
		return unknownFormat("input.format", input.Format)
	}
	name := defaultTo(input.Name, input.URI)
	name, _, _ = strings.Cut(name, "?")
	name = strings.ToLower(name)
	name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst"), ".zstd")
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte(bom)), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		input.Format = formatParquet
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		input.Format = formatXLSX
	case bytes.HasPrefix(head, []byte{0xd0, 0xcf, 0x11, 0xe0}):
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the file is an old Excel workbook (.xls) or an encrypted one; save it as .xlsx without a password, or as CSV")
	case bytes.HasPrefix(head, []byte("ARROW1")), bytes.HasPrefix(head, []byte("Obj\x01")), bytes.HasPrefix(head, []byte("ORC")),
		bytes.HasPrefix(head, []byte("%PDF")):
		return modelmanager.Errorf(modelmanager.CodeInvalidInput, "the file is none of csv, jsonl, parquet, xlsx; convert it to one of them")
	case bytes.HasPrefix(text, []byte("[")) && !strings.HasSuffix(name, ".csv"):
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the file begins with \"[\", as one JSON array; write one object per line (JSON Lines), or set input.format to csv")
	case bytes.HasPrefix(text, []byte("{")):
		input.Format = formatJSONL
	default:
		switch path.Ext(name) {
		case ".jsonl", ".ndjson":
			input.Format = formatJSONL
		case ".parquet", ".xlsx":
			return modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"the file is called %s and its content is something else; upload it again, or set input.format", path.Base(name))
		default:
			input.Format = formatCSV
		}
	}
	return nil
}

// sniffEncoding: a byte order mark, or UTF-8 if it is valid, or UTF-16 by its
// zero bytes, or else windows-1252, which is what spreadsheets write.
func sniffEncoding(ctx context.Context, src Source, head []byte, input *modelmanager.JobInput) error {
	if input.Encoding != "" {
		encoding, err := lookupEncoding(input.Encoding)
		if err == nil {
			input.Encoding = encoding.name
		}
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte(bom)):
		input.Encoding = encodingUTF8
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		input.Encoding = "utf-16le"
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		input.Encoding = "utf-16be"
	default:
		zeros, controls := [2]int{}, 0
		for i, b := range head {
			if b == 0 {
				zeros[i&1]++
			}
			if b < ' ' && b != '\t' && b != '\n' && b != '\r' {
				controls++
			}
		}
		switch {
		case zeros[1] > len(head)/8 && zeros[0] < zeros[1]/8 && isReadable(head, "utf-16le"):
			input.Encoding = "utf-16le"
		case zeros[0] > len(head)/8 && zeros[1] < zeros[0]/8 && isReadable(head, "utf-16be"):
			input.Encoding = "utf-16be"
		case controls > len(head)/100+1:
			return modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"the file is binary, and none of csv, jsonl, parquet, xlsx; convert it to one of them")
		default:
			valid, err := sampleIsUTF8(ctx, src, head, input.Compression)
			if err != nil {
				return err
			}
			input.Encoding = encodingUTF8
			if !valid && input.Format == formatCSV {
				input.Encoding = "windows-1252"
			}
		}
	}
	return nil
}

// isReadable tells whether bytes read in an encoding have no control characters.
func isReadable(head []byte, name string) bool {
	encoding, err := lookupEncoding(name)
	if err != nil {
		return false
	}
	text, err := encoding.codec.NewDecoder().Bytes(head[:len(head)&^1])
	return err == nil && bytes.IndexFunc(text, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r'
	}) < 0
}

// sampleIsUTF8 looks at the head and, of an uncompressed file, at samples from
// its middle and its end: names with accents may come late.
func sampleIsUTF8(ctx context.Context, src Source, head []byte, compression string) (bool, error) {
	if !utf8.Valid(trimPartial(head)) {
		return false, nil
	}
	size := src.Size()
	if compression != compressionNone || size <= int64(len(head)) {
		return true, nil
	}
	const samples, length = 8, 64 << 10
	for i := int64(1); i <= samples; i++ {
		offset := max((size-length)*i/samples, 0)
		r, err := src.ReadAt(ctx, offset, length)
		if err != nil {
			return false, err
		}
		sample, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return false, err
		}
		for len(sample) > 0 && !utf8.RuneStart(sample[0]) && len(sample) > length-utf8.UTFMax {
			sample = sample[1:]
		}
		if !utf8.Valid(trimPartial(sample)) {
			return false, nil
		}
	}
	return true, nil
}

// trimPartial drops a character that the end of the text cuts.
func trimPartial(text []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(text); i++ {
		if b := text[len(text)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(text[len(text)-i:]) {
				return text[:len(text)-i]
			}
			break
		}
	}
	return text
}
