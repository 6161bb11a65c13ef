package dataset

import "context"

// Texts returns a row's cells as text, one per column of the header, for people
// to look at: as the file has them, null as an empty one. ok is false if the row
// has no such cells (it is ragged, or no JSON object); it is then one text.
func (b *Batch) Texts(row int) (cells []string, ok bool) {
	values, ok := b.Extra.values(nil, row)
	if !ok && b.Extra.csv != nil {
		return []string{string(b.Extra.csv.row(row))}, false
	}
	for _, v := range values {
		cells = append(cells, string(v.text))
	}
	if !ok && len(cells) == 0 {
		return []string{string(b.Extra.json.row(row))}, false
	}
	return cells, ok
}

// Sheets names the sheets of a workbook, in its order.
func Sheets(ctx context.Context, src Source) ([]string, error) {
	book, err := openWorkbook(ctx, src)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(book.sheets))
	for i, sheet := range book.sheets {
		names[i] = sheet.name
	}
	return names, nil
}
