package dataset

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"

	modelmanager "modelmanager.dev"
)

// Bounds of what is looked at in a CSV file.
const (
	sniffRows  = 2000
	sniffLines = 40 // a header row is among the first lines
)

// csvSample is the beginning of a file, cut by one delimiter.
type csvSample struct {
	delim byte
	lines []int64 // of each row; 1 is the first line
	rows  [][]string
	quote [][]bool
	at    int // the header's index in rows
	score int // features that the header names
	even  int // rows after the header with as many cells
}

func sniffCSV(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema, all bool) (modelmanager.JobInput, error) {
	candidates := []byte{',', ';', '\t', '|'}
	if input.Delimiter != "" {
		delim, err := delimiterOf(input)
		if err != nil {
			return input, err
		}
		candidates = []byte{delim}
	}
	var samples []*csvSample
	for _, delim := range candidates {
		sample, err := takeSample(ctx, src, input, delim)
		if err != nil {
			if len(candidates) == 1 {
				return input, err
			}
			continue // a quote that is never closed with this delimiter
		}
		if len(sample.rows) > 0 {
			sample.findHeader(input, s)
			samples = append(samples, sample)
		}
	}
	if len(samples) == 0 {
		// The plain reading says what is wrong.
		_, err := takeSample(ctx, src, input, candidates[0])
		if err == nil {
			err = modelmanager.Errorf(modelmanager.CodeInvalidInput, "the file has no rows, not even a header")
		}
		return input, err
	}
	best, err := bestSample(samples)
	if err != nil {
		return input, err
	}
	if best, err = sniffSpaces(ctx, src, input, s, best); err != nil {
		return input, err
	}
	if err := best.checkWidth(); err != nil {
		return input, err
	}
	input.Delimiter = delimiterName(best.delim)
	if input.HeaderRow == 0 {
		input.HeaderRow = int(best.lines[best.at])
	}
	if err := best.sniffDecimal(&input, s); err != nil {
		return input, err
	}
	return input, best.sniffDates(&input, s)
}

// takeSample reads the first rows with a delimiter.
func takeSample(ctx context.Context, src Source, input modelmanager.JobInput, delim byte) (*csvSample, error) {
	length := int64(-1)
	if !NeedsSplit(input) {
		length = sniffBytes
	}
	input.Delimiter = delimiterName(delim)
	scanner, closer, _, err := openScanner(ctx, headOf(src), input, 0, length)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	sample := &csvSample{delim: delim}
	for len(sample.rows) < sniffRows && scanner.offset < sniffBytes {
		raw, err := scanner.next()
		if err == io.EOF || err != nil && len(sample.rows) > 0 && src.Size() > sniffBytes {
			break // the sample may end within a quoted cell
		}
		if err != nil {
			return nil, err
		}
		if length > 0 && scanner.newline == "" && src.Size() > sniffBytes && len(sample.rows) > 0 {
			break // a row that the sample's end cuts
		}
		cells, _ := splitRecord(nil, raw, delim, bytes.IndexByte(raw, '"') >= 0)
		row, quoted := make([]string, len(cells)), make([]bool, len(cells))
		for i, cell := range cells {
			text, _ := cell.text(raw, nil)
			row[i], quoted[i] = string(text), cell.quoted
		}
		sample.rows = append(sample.rows, row)
		sample.quote = append(sample.quote, quoted)
		sample.lines = append(sample.lines, scanner.recordLine)
	}
	return sample, nil
}

// findHeader takes the row that best matches the features' names; without any
// match the first one that is as wide as most.
func (c *csvSample) findHeader(input modelmanager.JobInput, s *Schema) {
	widths := map[int]int{}
	for _, row := range c.rows {
		widths[len(row)]++
	}
	usual := 0
	for width, n := range widths {
		if n > widths[usual] || n == widths[usual] && width > usual {
			usual = width
		}
	}
	given, best := input.HeaderRow > 0, -1
	if !given && s == nil && c.namesRest(usual) {
		c.at, c.even = 0, widths[usual] // checkWidth says what is wrong
		return
	}
	for i, row := range c.rows {
		if given && c.lines[i] < int64(input.HeaderRow) {
			continue
		}
		if !given && c.lines[i] > sniffLines {
			break
		}
		score := matchHeader(row, input, s)
		if best < 0 || score > c.score || score == c.score && score == 0 && len(c.rows[best]) != usual && len(row) == usual {
			best, c.score = i, score
		}
		if given {
			break
		}
	}
	c.at = max(best, 0)
	for _, row := range c.rows[c.at+1:] {
		if len(row) == len(c.rows[c.at]) {
			c.even++
		}
	}
}

// namesRest tells whether the first row has names for all columns but one.
func (c *csvSample) namesRest(usual int) bool {
	if usual < 3 || len(c.rows) < 2 || len(c.rows[0]) != usual-1 {
		return false
	}
	for _, name := range c.rows[0] {
		if text := trim([]byte(name)); len(text) == 0 || text[0] != '.' && text[0]-'0' <= 9 {
			return false
		}
	}
	return true
}

// checkWidth refuses a file all of whose rows have one cell more than the
// header: which of them has no name is not for us to guess.
func (c *csvSample) checkWidth() error {
	width := len(c.rows[c.at])
	if width < 2 || len(c.rows) == c.at+1 {
		return nil
	}
	for _, row := range c.rows[c.at+1:] {
		if len(row) != width+1 {
			return nil
		}
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"the header has %d names, and every row %d cells: name the first column (R's write.table needs col.names = NA for that), or drop the delimiter at the rows' ends",
		width, width+1)
}

// matchHeader counts the features that a row names: two for a name, one for a
// similar one.
func matchHeader(row []string, input modelmanager.JobInput, s *Schema) int {
	if s == nil {
		return 0
	}
	exact, similar := make(map[string]bool, len(row)), make(map[string]bool, len(row))
	for _, name := range row {
		exact[name] = true
		if simple := simplify(name); simple != "" {
			similar[simple] = true
		}
	}
	score := 0
	for _, field := range s.Fields() {
		name := defaultTo(input.Columns[field.Name], field.Name)
		items := itemHeaders(field, name)
		switch {
		case exact[name], len(items) > 0 && exact[items[0]]:
			score += 2
		case similar[simplify(name)]:
			score++
		}
	}
	return score
}

// bestSample takes the delimiter whose header names most features, and which
// cuts most evenly. Two that do equally well are an error.
func bestSample(samples []*csvSample) (*csvSample, error) {
	best, rivals := samples[0], []*csvSample(nil)
	for _, sample := range samples[1:] {
		switch order := sample.compare(best); {
		case order > 0:
			best, rivals = sample, nil
		case order == 0 && len(sample.rows[sample.at]) > 1:
			rivals = append(rivals, sample)
		}
	}
	if len(rivals) == 0 || len(best.rows[best.at]) == 1 {
		return best, nil
	}
	names := []string{strconv.Quote(delimiterName(best.delim))}
	for _, rival := range rivals {
		names = append(names, strconv.Quote(delimiterName(rival.delim)))
	}
	return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"the cells may be separated by %s: the file can be read either way; set input.delimiter", strings.Join(names, " or "))
}

func (c *csvSample) compare(other *csvSample) int {
	if c.score != other.score {
		return c.score - other.score
	}
	many, otherMany := len(c.rows[c.at]) > 1, len(other.rows[other.at]) > 1
	switch {
	case many != otherMany && many:
		// Both name no feature, or one: a lone column beats cells that are cut unevenly.
		if c.score == 0 && c.evenness() > 90 || c.score > 0 && c.evenness() >= other.evenness() {
			return 1
		}
		return -1
	case many != otherMany:
		return -other.compare(c)
	case !many:
		return 0
	}
	return c.evenness() - other.evenness()
}

// evenness is the percentage of rows that are as wide as the header.
func (c *csvSample) evenness() int {
	rows := len(c.rows) - c.at - 1
	if rows == 0 {
		return 100
	}
	return 100 * c.even / rows
}

// columns calls visit for every column of a kind of feature, or for every
// column without a schema.
func (c *csvSample) columns(input *modelmanager.JobInput, s *Schema, wanted func(*modelmanager.Field) bool, visit func(column int)) {
	for column, name := range c.rows[c.at] {
		if s == nil {
			visit(column)
			continue
		}
		for i := range s.Fields() {
			field := s.Fields()[i]
			header := defaultTo(input.Columns[field.Name], field.Name)
			if name == header || len(name) > len(header) && strings.HasPrefix(name, header+".") && field.Items != nil {
				if field.Items != nil {
					field = *field.Items
				}
				if wanted(&field) {
					visit(column)
				}
			}
		}
	}
}

func (c *csvSample) values(column int, visit func(text string)) {
	for _, row := range c.rows[c.at+1:] {
		if column < len(row) && len(row) == len(c.rows[c.at]) {
			if text := strings.TrimSpace(row[column]); text != "" {
				visit(text)
			}
		}
	}
}

// sniffDecimal looks for decimal commas, which need another delimiter.
func (c *csvSample) sniffDecimal(input *modelmanager.JobInput, s *Schema) error {
	if input.Decimal != "" {
		if input.Decimal != "." && input.Decimal != "," {
			return modelmanager.Errorf(modelmanager.CodeInvalidInput, "input.decimal: %q is neither \".\" nor \",\"", input.Decimal)
		}
		return nil
	}
	input.Decimal = "."
	if c.delim != ';' && c.delim != '\t' {
		return nil
	}
	commas, points := "", ""
	isNumber := func(f *modelmanager.Field) bool { return f.Type == modelmanager.Number }
	c.columns(input, s, isNumber, func(column int) {
		c.values(column, func(text string) {
			switch {
			case decimalWith(text, ','):
				commas = text
			case decimalWith(text, '.'):
				points = text
			}
		})
	})
	switch {
	case commas != "" && points != "":
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"numbers are written both as %s and as %s; write them in one way, or set input.decimal to \",\" or \".\"", commas, points)
	case commas != "":
		input.Decimal = ","
	}
	return nil
}

// decimalWith tells whether text is a number with that decimal mark.
func decimalWith(text string, mark byte) bool {
	i := strings.IndexByte(text, mark)
	if i < 0 || strings.ContainsAny(text, "xXpP_nN") {
		return false
	}
	_, err := strconv.ParseFloat(text[:i]+"."+text[i+1:], 64)
	return err == nil
}

// sniffDates looks for one layout that every date of the sample has.
func (c *csvSample) sniffDates(input *modelmanager.JobInput, s *Schema) error {
	if input.Dates != "" || s == nil {
		return nil
	}
	var found dateSniffer
	isDate := func(f *modelmanager.Field) bool {
		return f.Type == modelmanager.String && (f.Format == modelmanager.FormatDate || f.Format == modelmanager.FormatDateTime)
	}
	c.columns(input, s, isDate, func(column int) {
		c.values(column, found.add)
	})
	layout, err := found.layout()
	if err != nil {
		return err
	}
	input.Dates = layout
	return nil
}
