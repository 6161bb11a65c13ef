package dataset

import (
	"bufio"
	"encoding/binary"
	"os"
	"sort"
	"strings"

	modelmanager "modelmanager.dev"
)

const (
	maxSharedStrings = 1 << 30  // bytes of a workbook's texts, on disk
	sharedMemory     = 16 << 20 // bytes of them that are held in memory
	sharedBlock      = 32 << 10 // bytes that are read back at a time
	sharedBlocks     = 64       // blocks that are kept
)

// sharedStrings are a workbook's texts, which its cells name by number. Many
// of them go to a file without a name, so that a large workbook takes little memory.
type sharedStrings struct {
	texts []string // all of them, while they are few
	size  int

	file   *os.File
	writer *bufio.Writer
	count  int
	end    int64        // of the file
	parts  []sharedPart // of the file, in order
	kept   [sharedBlocks]keptPart
}

// sharedPart is where a block begins, and which text is its first.
type sharedPart struct {
	first  int
	offset int64
}

// keptPart is a block that was read back; of the zero value there are no texts.
type keptPart struct {
	part  int
	texts []string
}

func (s *sharedStrings) len() int { return max(s.count, len(s.texts)) }

// add adds a text.
func (s *sharedStrings) add(text string) error {
	if s.size += len(text) + 16; s.size > maxSharedStrings {
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "the workbook's texts take more than %d MiB; save it as CSV", maxSharedStrings>>20)
	}
	if s.file != nil {
		return s.write(text)
	}
	s.texts = append(s.texts, text)
	if s.size <= sharedMemory {
		return nil
	}
	var err error
	if s.file, err = os.CreateTemp("", "texts-*"); err != nil {
		return modelmanager.Errorf(modelmanager.CodeStorage, "keeping the workbook's texts: %w", err)
	}
	_ = os.Remove(s.file.Name())
	s.writer = bufio.NewWriterSize(s.file, 256<<10)
	for _, text := range s.texts {
		if err := s.write(text); err != nil {
			return err
		}
	}
	s.texts = nil
	return nil
}

// write appends a text, after its length, to the file.
func (s *sharedStrings) write(text string) error {
	if len(s.parts) == 0 || s.end-s.parts[len(s.parts)-1].offset >= sharedBlock {
		s.parts = append(s.parts, sharedPart{first: s.count, offset: s.end})
	}
	head := binary.AppendUvarint(s.writer.AvailableBuffer(), uint64(len(text)))
	_, err := s.writer.Write(head)
	if err == nil {
		_, err = s.writer.WriteString(text)
	}
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeStorage, "keeping the workbook's texts: %w", err)
	}
	s.end += int64(len(head) + len(text))
	s.count++
	return nil
}

// complete ends adding.
func (s *sharedStrings) complete() error {
	if s.writer == nil {
		return nil
	}
	if err := s.writer.Flush(); err != nil {
		return modelmanager.Errorf(modelmanager.CodeStorage, "keeping the workbook's texts: %w", err)
	}
	s.writer = nil
	return nil
}

// at returns a text; i is less than len.
func (s *sharedStrings) at(i int) (string, error) {
	if s.file == nil {
		return s.texts[i], nil
	}
	part := sort.Search(len(s.parts), func(p int) bool { return s.parts[p].first > i }) - 1
	kept := &s.kept[part%sharedBlocks]
	if kept.texts == nil || kept.part != part {
		texts, err := s.read(part)
		if err != nil {
			return "", err
		}
		*kept = keptPart{part: part, texts: texts}
	}
	return strings.Clone(kept.texts[i-s.parts[part].first]), nil // a cell must not hold its block
}

func (s *sharedStrings) read(part int) ([]string, error) {
	end, after := s.end, s.count
	if part+1 < len(s.parts) {
		end, after = s.parts[part+1].offset, s.parts[part+1].first
	}
	data := make([]byte, end-s.parts[part].offset)
	if _, err := s.file.ReadAt(data, s.parts[part].offset); err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeStorage, "reading the workbook's texts back: %w", err)
	}
	whole := string(data)
	texts := make([]string, 0, after-s.parts[part].first)
	for at := 0; at < len(data); {
		length, n := binary.Uvarint(data[at:])
		at += n
		texts = append(texts, whole[at:at+int(length)])
		at += int(length)
	}
	return texts, nil
}

// close frees the file.
func (s *sharedStrings) close() {
	if s.file != nil {
		s.file.Close()
	}
}
