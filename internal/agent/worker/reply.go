package worker

import (
	"bytes"
	"encoding/json"
	"errors"
)

// reply is a worker's answer, of any format. Predictions and Columns lie in
// the line that it was read from.
type reply struct {
	ID          *int64
	Predictions json.RawMessage
	Columns     json.RawMessage // another spelling of columns' predictions
	Bytes       *int64
	Errors      []refusal
	Error       *string
	Retry       bool
}

type refusal struct {
	Row     int64  `json:"row"`
	Message string `json:"message"`
}

var errNotJSON = errors.New("it is no JSON")

// parseReply finds the parts of an answer. Predictions are not looked into:
// they may be large, hold NaN, and are decoded against the schema.
func parseReply(line []byte) (*reply, error) {
	r := new(reply)
	err := members(line, '{', func(key, value []byte) error {
		var name string
		if err := json.Unmarshal(key, &name); err != nil {
			return err
		}
		switch name {
		case "id":
			return json.Unmarshal(value, &r.ID)
		case "predictions":
			r.Predictions = value
		case "columns":
			r.Columns = value
		case "bytes":
			return json.Unmarshal(value, &r.Bytes)
		case "errors":
			return json.Unmarshal(value, &r.Errors)
		case "error":
			return json.Unmarshal(value, &r.Error)
		case "retry":
			return json.Unmarshal(value, &r.Retry)
		}
		return nil
	})
	return r, err
}

// elements cuts a JSON array into its values, without looking into them.
func elements(data []byte) ([]json.RawMessage, error) {
	var list []json.RawMessage
	err := members(data, '[', func(_, value []byte) error {
		list = append(list, value)
		return nil
	})
	return list, err
}

// members calls f for each member of an object, or with '[' of an array: then
// without keys. Values are delimited, not validated.
func members(data []byte, open byte, f func(key, value []byte) error) error {
	i := blanks(data, 0)
	if i >= len(data) || data[i] != open {
		return errNotJSON
	}
	shut := open + 2 // } or ]
	i = blanks(data, i+1)
	if i < len(data) && data[i] == shut {
		return atEnd(data, i+1)
	}
	for i < len(data) {
		var key []byte
		if open == '{' {
			end := skip(data, i)
			if end < 0 || data[i] != '"' {
				return errNotJSON
			}
			key = data[i:end]
			if i = blanks(data, end); i >= len(data) || data[i] != ':' {
				return errNotJSON
			}
			i = blanks(data, i+1)
		}
		end := skip(data, i)
		if end < 0 {
			return errNotJSON
		}
		if err := f(key, data[i:end]); err != nil {
			return err
		}
		if i = blanks(data, end); i >= len(data) {
			return errNotJSON
		}
		switch data[i] {
		case ',':
			i = blanks(data, i+1)
		case shut:
			return atEnd(data, i+1)
		default:
			return errNotJSON
		}
	}
	return errNotJSON
}

func atEnd(data []byte, i int) error {
	if blanks(data, i) != len(data) {
		return errNotJSON
	}
	return nil
}

func blanks(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n') {
		i++
	}
	return i
}

// skip returns where the value at i ends; −1 if it doesn't, or is empty.
func skip(data []byte, i int) int {
	depth := 0
	for start := i; i < len(data); {
		switch c := data[i]; c {
		case '"':
			if i = closingQuote(data, i+1); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return nonEmpty(start, i)
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return nonEmpty(start, i)
			}
		}
		i++
	}
	return -1
}

func nonEmpty(start, end int) int {
	if start == end {
		return -1
	}
	return end
}

// closingQuote returns the place after the quote that closes a string.
func closingQuote(data []byte, i int) int {
	for {
		at := bytes.IndexByte(data[i:], '"')
		if at < 0 {
			return -1
		}
		backslashes := 0
		for j := i + at - 1; j >= i && data[j] == '\\'; j-- {
			backslashes++
		}
		i += at + 1
		if backslashes%2 == 0 {
			return i
		}
	}
}
