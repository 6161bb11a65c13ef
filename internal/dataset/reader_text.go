package dataset

import (
	"io"
	"sync"

	modelmanager "modelmanager.dev"
)

// textBlock is some records of a text file, copied from it.
type textBlock struct {
	firstRow int64
	text     []byte
	ends     []int  // of each record in text
	quotes   []bool // whether a record has a quote; nil: none has
}

func (b *textBlock) rows() int { return len(b.ends) }

func (b *textBlock) row(i int) []byte {
	if i == 0 {
		return b.text[:b.ends[0]]
	}
	return b.text[b.ends[i-1]:b.ends[i]]
}

// textSource reads blocks and has them decoded, by itself or by several
// goroutines at once; Batches come in the file's order either way.
type textSource struct {
	scanner    *recordScanner
	closer     io.Closer
	batchRows  int
	batchBytes int
	nextRow    int64
	left       int64 // rows of the slice to come; −1: not counted
	lastSize   int   // of a block, so that the next one is allocated whole

	decoders []textDecoder // one per goroutine
	ordered  chan chan decoded
	stop     chan struct{}
	running  sync.WaitGroup
}

// textDecoder turns records into rows. It serves one goroutine.
type textDecoder interface {
	decode(block *textBlock) (*Batch, error)
}

type decoded struct {
	batch *Batch
	err   error
}

func newTextSource(o opening, scanner *recordScanner, closer io.Closer, newDecoder func() textDecoder) *textSource {
	s := &textSource{
		scanner: scanner, closer: closer, batchRows: o.opts.BatchRows, batchBytes: o.opts.BatchBytes,
		nextRow: max(o.slice.FirstRow, 1), left: -1,
	}
	if o.slice.Rows > 0 {
		s.left = o.slice.Rows
	}
	for range max(o.opts.Parallel, 1) {
		s.decoders = append(s.decoders, newDecoder())
	}
	return s
}

func (s *textSource) next() (*Batch, error) {
	if len(s.decoders) == 1 {
		block, err := s.read()
		if err != nil {
			return nil, err
		}
		return s.decoders[0].decode(block)
	}
	if s.ordered == nil {
		s.start()
	}
	result, ok := <-s.ordered
	if !ok {
		return nil, io.EOF
	}
	d := <-result
	return d.batch, d.err
}

// start sets one goroutine to reading and the others to decoding. At most two
// blocks per decoder are under way.
func (s *textSource) start() {
	type job struct {
		block  *textBlock
		result chan decoded
	}
	jobs := make(chan job)
	s.ordered = make(chan chan decoded, len(s.decoders))
	s.stop = make(chan struct{})
	for _, decoder := range s.decoders {
		s.running.Go(func() {
			for j := range jobs {
				batch, err := decoder.decode(j.block)
				j.result <- decoded{batch, err}
			}
		})
	}
	s.running.Go(func() {
		defer close(jobs)
		defer close(s.ordered)
		for {
			block, err := s.read()
			result := make(chan decoded, 1)
			if err != nil {
				result <- decoded{err: err} // io.EOF too
			}
			select {
			case s.ordered <- result:
			case <-s.stop:
				return
			}
			if err != nil {
				return
			}
			select {
			case jobs <- job{block, result}:
			case <-s.stop:
				return
			}
		}
	})
}

// read copies the next records; io.EOF if there are none.
func (s *textSource) read() (*textBlock, error) {
	block := &textBlock{
		firstRow: s.nextRow,
		text:     make([]byte, 0, s.lastSize+s.lastSize/8),
		ends:     make([]int, 0, s.batchRows),
	}
	for len(block.ends) < s.batchRows && len(block.text) < s.batchBytes && s.left != 0 {
		raw, err := s.scanner.next()
		if err == io.EOF {
			if s.left > 0 {
				return nil, fewerRows(s.left)
			}
			break
		}
		if err != nil {
			return nil, err
		}
		if s.scanner.broken || block.quotes != nil {
			if block.quotes == nil {
				block.quotes = make([]bool, len(block.ends), s.batchRows)
			}
			block.quotes = append(block.quotes, s.scanner.broken)
		}
		block.text = append(block.text, raw...)
		block.ends = append(block.ends, len(block.text))
		if s.left > 0 {
			s.left--
		}
	}
	if len(block.ends) == 0 {
		return nil, io.EOF
	}
	s.lastSize = len(block.text)
	s.nextRow += int64(len(block.ends))
	return block, nil
}

// fewerRows says that a slice ends before its rows do.
func fewerRows(missing int64) error {
	return modelmanager.Errorf(modelmanager.CodeInputChanged,
		"the input ends %d rows before it should; it changed after it was planned, submit the job again", missing)
}

func (s *textSource) close() error {
	if s.ordered != nil {
		close(s.stop)
		s.running.Wait()
		s.ordered, s.decoders = nil, s.decoders[:1]
	}
	return s.closer.Close()
}
