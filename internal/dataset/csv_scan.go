package dataset

import (
	"bytes"
	"errors"
	"io"

	modelmanager "modelmanager.dev"
)

// maxRecord bounds one row of a text file.
const maxRecord = 16 << 20

// scanBuffer is what the scanner reads at a time.
const scanBuffer = 512 << 10

// recordScanner finds the records of a CSV text, and nothing in them: where
// they begin and end, quoted line breaks included. A record ends at LF, CRLF or
// a lone CR. A quote counts only where a cell begins, as in RFC 4180. Blank
// lines are no records. The text is UTF-8, or at least contains ASCII as such.
type recordScanner struct {
	r     io.Reader
	delim byte
	width func([]byte) int64 // encoded bytes of a decoded text; nil: len
	lines bool               // quotes mean nothing: JSON Lines

	buf        []byte
	start, end int // what is read and not yet consumed
	eof        bool

	// Where the next byte of each kind is, at or after start; end if there is
	// none in the buffer, −1 if unknown. So each is searched for once.
	feed, ret, quote int

	record int64 // number of the record last returned; 1 is the first
	line   int64 // the line on which the next record begins; 1 is the first
	offset int64 // encoded bytes before start

	recordOffset int64 // of the record last returned
	recordLine   int64
	newline      string // line end of the record last returned; "" at the end of the file
	broken       bool   // the record last returned has a quote
}

func newRecordScanner(r io.Reader, delim byte, offset int64) *recordScanner {
	return &recordScanner{r: r, delim: delim, offset: offset, line: 1, feed: -1, ret: -1, quote: -1}
}

// next returns the next record without its line end, valid until the call
// after; io.EOF after the last.
func (s *recordScanner) next() ([]byte, error) {
	for {
		raw, err := s.nextLine()
		if err != nil || len(raw) > 0 && !(s.lines && len(bytes.TrimSpace(raw)) == 0) {
			if err == nil {
				s.record++
			}
			return raw, err
		}
	}
}

// nextLine is next with blank lines.
func (s *recordScanner) nextLine() ([]byte, error) {
	for {
		end, skip, ok, err := s.boundary()
		if err != nil {
			return nil, err
		}
		if ok {
			return s.consume(end, skip), nil
		}
		if s.eof {
			return nil, io.EOF
		}
		if s.end-s.start > maxRecord {
			return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"the row on line %d is longer than %d MiB; %s", s.line, maxRecord>>20, s.tooLong())
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

func (s *recordScanner) tooLong() string {
	if s.find('"', &s.quote) < s.end && !s.lines {
		return "is a quote in it never closed?"
	}
	return "is it a text file, and is input.delimiter right?"
}

// boundary looks for the end of the record at start, and how many bytes its
// line end takes. ok is false if the buffer doesn't reach that far.
func (s *recordScanner) boundary() (end, skip int, ok bool, err error) {
	if s.start == s.end {
		return 0, 0, false, nil
	}
	feed := s.find('\n', &s.feed)
	at := feed
	if !s.lines {
		at = min(feed, s.find('\r', &s.ret))
		if s.find('"', &s.quote) < at {
			if at, ok, err = s.quoted(); err != nil || !ok {
				return 0, 0, false, err
			}
		}
	}
	switch {
	case at == s.end:
		return at, 0, s.eof, nil
	case s.buf[at] == '\n':
		if s.lines && at > s.start && s.buf[at-1] == '\r' {
			return at - 1, 2, true, nil
		}
		return at, 1, true, nil
	case at+1 < s.end:
		if s.buf[at+1] == '\n' {
			return at, 2, true, nil
		}
		return at, 1, true, nil
	default: // a CR at the buffer's end: is LF next?
		return at, 1, s.eof, nil
	}
}

// find returns the next c at or after start, or end.
func (s *recordScanner) find(c byte, at *int) int {
	if *at < s.start {
		if i := bytes.IndexByte(s.buf[s.start:s.end], c); i >= 0 {
			*at = s.start + i
		} else {
			*at = s.end
		}
	}
	return *at
}

// quoted walks through a record that has a quote, cell by cell.
func (s *recordScanner) quoted() (end int, ok bool, err error) {
	i := s.start
	for {
		if i < s.end && s.buf[i] == '"' {
			open := i
			if i = s.closing(i + 1); i < 0 {
				if s.eof {
					return 0, false, s.unterminated(open)
				}
				return 0, false, nil
			}
		}
		for i < s.end && s.buf[i] != s.delim && s.buf[i] != '\n' && s.buf[i] != '\r' {
			i++
		}
		if i == s.end {
			return i, s.eof, nil
		}
		if s.buf[i] != s.delim {
			return i, true, nil
		}
		i++
		if i == s.end {
			return i, s.eof, nil
		}
	}
}

// closing returns what follows the quote that closes a cell, or −1. A quote at
// the very end of the buffer is taken for closing only at the end of the file.
func (s *recordScanner) closing(i int) int {
	for {
		k := bytes.IndexByte(s.buf[i:s.end], '"')
		if k < 0 {
			return -1
		}
		i += k + 1
		switch {
		case i == s.end && !s.eof:
			return -1
		case i < s.end && s.buf[i] == '"':
			i++
		default:
			return i
		}
	}
}

func (s *recordScanner) unterminated(open int) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"the quote that opens on line %d of the file (row %d of this part) is never closed; close it, or double a quote that belongs to the text",
		s.line+countLines(s.buf[s.start:open]), s.record+1)
}

// consume takes the record that ends at end off the buffer.
func (s *recordScanner) consume(end, skip int) []byte {
	raw := s.buf[s.start:end]
	s.recordOffset, s.recordLine = s.offset, s.line
	s.newline = string(s.buf[end : end+skip])
	s.broken = !s.lines && s.quote < end
	if s.broken {
		s.line += countLines(raw)
	}
	if skip > 0 {
		s.line++
	}
	if s.width == nil {
		s.offset += int64(end + skip - s.start)
	} else {
		s.offset += s.width(s.buf[s.start : end+skip])
	}
	s.start = end + skip
	return raw
}

// fill reads on, making room first.
func (s *recordScanner) fill() error {
	held := s.end - s.start
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, held
	}
	if cap(s.buf)-held < scanBuffer/2 {
		grown := make([]byte, max(2*cap(s.buf), scanBuffer))
		copy(grown, s.buf[:held])
		s.buf = grown
	}
	s.buf = s.buf[:cap(s.buf)]
	s.feed, s.ret, s.quote = -1, -1, -1
	n, err := io.ReadAtLeast(s.r, s.buf[s.end:], 1)
	s.end += n
	if errors.Is(err, io.EOF) {
		s.eof = true
		return nil
	}
	return err
}

// skipBOM drops a byte order mark at the start of the text.
func (s *recordScanner) skipBOM() (bool, error) {
	for s.end-s.start < len(bom) && !s.eof {
		if err := s.fill(); err != nil {
			return false, err
		}
	}
	if !bytes.HasPrefix(s.buf[s.start:s.end], []byte(bom)) {
		return false, nil
	}
	s.start += len(bom)
	if s.width == nil {
		s.offset += int64(len(bom))
	} else {
		s.offset += s.width([]byte(bom))
	}
	return true, nil
}

// countLines counts line ends: LF, CRLF and lone CR.
func countLines(text []byte) int64 {
	n := bytes.Count(text, []byte{'\n'})
	for i := 0; ; i++ {
		k := bytes.IndexByte(text[i:], '\r')
		if k < 0 {
			return int64(n)
		}
		if i += k; i+1 == len(text) || text[i+1] != '\n' {
			n++
		}
	}
}
