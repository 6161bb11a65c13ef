package dataset

import (
	"context"
	"strconv"
	"strings"

	modelmanager "modelmanager.dev"
)

// namedBySpaces is the score from which a header cut by spaces is no sentence.
const namedBySpaces = 3

// sniffSpaces looks whether spaces separate the cells of a file in which no
// other delimiter does. One space each is a delimiter like others. Columns that
// are aligned by several are refused: an empty cell can't be told from a gap.
func sniffSpaces(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema, best *csvSample) (*csvSample, error) {
	sample := best
	if best.delim != ' ' {
		if s == nil && len(best.rows[best.at]) > 1 {
			return best, nil
		}
		var err error
		if sample, err = takeSample(ctx, src, input, ' '); err != nil || len(sample.rows) == 0 {
			return best, nil // a quote that is never closed; the other reading says what is wrong
		}
		sample.findHeader(input, s)
		if sample.oneSpaceEach() && (s == nil && numericColumns(sample.rows) > 1 || sample.score > best.score && sample.score >= namedBySpaces) {
			return sample, nil
		}
	}
	if sample.oneSpaceEach() {
		return best, nil
	}
	other := best.score
	if best.delim == ' ' {
		other = 0
	}
	words, phrases := make([][]string, len(sample.rows)), make([][]string, len(sample.rows))
	for i, row := range sample.rows {
		words[i], phrases[i] = alignedCells(row)
	}
	wordScore, phraseScore := 0, 0
	for i, line := range sample.lines {
		if line > sniffLines || s == nil {
			break
		}
		if under(words, i) {
			wordScore = max(wordScore, matchHeader(words[i], input, s))
		}
		if under(phrases, i) {
			phraseScore = max(phraseScore, matchHeader(phrases[i], input, s))
		}
	}
	switch named := max(wordScore, phraseScore); {
	case named >= namedBySpaces && named > other, s == nil && numericColumns(words) > 1:
	default:
		return best, nil
	}
	separator := `\s+`
	if phraseScore > wordScore {
		separator = `\s{2,}`
	}
	return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
		`the file's columns are aligned by spaces, where an empty cell can't be told from a gap: write it with commas or tabs, for example by pandas.read_csv("in.txt", sep=r"%s").to_csv("in.csv", index=False)`,
		separator)
}

// oneSpaceEach tells whether all rows are cut into as many cells, none empty.
func (c *csvSample) oneSpaceEach() bool {
	rows := c.rows[c.at:]
	for n, row := range rows {
		if len(row) != len(rows[0]) {
			return false
		}
		for i, cell := range row {
			if cell == "" && !c.quote[c.at+n][i] {
				return false
			}
		}
	}
	return len(rows[0]) > 1
}

// alignedCells cuts a row, which was cut at every space, at gaps of any width,
// and at gaps of two spaces and more.
func alignedCells(row []string) (words, phrases []string) {
	gap := true
	for _, cell := range row {
		switch {
		case cell == "":
			gap = true
			continue
		case gap:
			phrases = append(phrases, cell)
		default:
			phrases[len(phrases)-1] += " " + cell
		}
		words, gap = append(words, cell), false
	}
	return words, phrases
}

// under tells whether most rows below one may stand under its names: some of
// their cells may be empty, and row names have no name.
func under(rows [][]string, header int) bool {
	fit := 0
	for _, row := range rows[header+1:] {
		if len(row) > 1 && len(row) <= len(rows[header])+1 {
			fit++
		}
	}
	return 2*fit > len(rows)-header-1
}

// numericColumns counts the columns with a number in every row and none in the
// header; 0 if rows differ in width.
func numericColumns(rows [][]string) int {
	if len(rows) < 2 {
		return 0
	}
	count := 0
	for column, name := range rows[0] {
		numeric := !isFloat(name)
		for _, row := range rows[1:] {
			if len(row) != len(rows[0]) {
				return 0
			}
			numeric = numeric && isFloat(row[column])
		}
		if numeric {
			count++
		}
	}
	return count
}

func isFloat(text string) bool {
	_, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
	return err == nil
}
