package data

import "strings"

// rowCase is one row: the example row with another value of one feature,
// written in every format.
type rowCase struct {
	rule    string
	feature string
	json    string // the value; leaveOut: no key
	csv     string // the cell as it stands in the file; untold: CSV can't say it
	cell    any    // of the Parquet column, and of the sheet; untold: they can't say it
	want    string // what every model sees; none: null
	refused string // part of the reason, if the row is refused; anyReason: whatever it is
	noSheet bool   // a sheet says something else
	notInR  bool   // R's doubles have no such value: refused there
}

const (
	null      = "null"
	none      = "(null)" // as what a model sees
	leaveOut  = "(no key)"
	untold    = "(can't be said)"
	anyReason = "(any)"
)

func rowCases() []rowCase {
	long := strings.Repeat("long ", 2000)
	return []rowCase{
		{rule: "a boolean", feature: "flag", json: "true", csv: "true", cell: true, want: "true"},
		{rule: "a boolean", feature: "flag", json: "false", csv: "false", cell: false, want: "false"},
		{rule: "true in any case", feature: "flag", json: "true", csv: "TRUE", cell: true, want: "true"},
		{rule: "true in any case", feature: "flag", json: "true", csv: "True", cell: true, want: "true"},
		{rule: "false in any case", feature: "flag", json: "false", csv: "fAlSe", cell: false, want: "false"},
		{rule: "1 is no boolean", feature: "flag", json: "1", csv: "1", cell: untold, refused: "boolean"},
		{rule: "yes is no boolean", feature: "flag", json: `"yes"`, csv: "yes", cell: untold, refused: "true or false"},
		{rule: "null needs nullable", feature: "flag", json: null, csv: "", cell: nil, refused: "null"},
		{rule: "a nullable boolean", feature: "flag_n", json: null, csv: "", cell: nil, want: none},
		{rule: "a nullable boolean", feature: "flag_n", json: "false", csv: "false", cell: false, want: "false"},

		{rule: "an integer", feature: "count", json: "5", csv: "5", cell: int64(5), want: "5"},
		{rule: "5.0 is an integer", feature: "count", json: "5.0", csv: "5.0", cell: int64(5), want: "5"},
		{rule: "5e0 is an integer", feature: "count", json: "5e0", csv: "5e0", cell: int64(5), want: "5"},
		{rule: "5.5 is none", feature: "count", json: "5.5", csv: "5.5", cell: untold, refused: "not an integer"},
		{rule: "a string is none", feature: "count", json: `"5"`, csv: "five", cell: untold, refused: anyReason},
		{rule: "2^53−1", feature: "count", json: "9007199254740991", csv: "9007199254740991", cell: int64(9007199254740991), want: "9007199254740991"},
		{rule: "−(2^53−1)", feature: "count", json: "-9007199254740991", csv: "-9007199254740991", cell: int64(-9007199254740991), want: "-9007199254740991"},
		{rule: "2^53 is beyond", feature: "count", json: "9007199254740992", csv: "9007199254740992", cell: int64(9007199254740992), refused: "2^53"},
		{rule: "−2^53 is beyond", feature: "count", json: "-9007199254740992", csv: "-9007199254740992", cell: int64(-9007199254740992), refused: "2^53"},
		{rule: "null needs nullable", feature: "count", json: null, csv: "", cell: nil, refused: "null"},
		{rule: "a nullable integer", feature: "count_n", json: null, csv: "", cell: nil, want: none},
		{rule: "a nullable integer", feature: "count_n", json: "7", csv: "7", cell: int64(7), want: "7"},
		{rule: "a nullable integer keeps its digits", feature: "count_n", json: "9007199254740991", csv: "9007199254740991", cell: int64(9007199254740991), want: "9007199254740991"},

		{rule: "int64 is a string in JSON", feature: "long", json: `"9223372036854775807"`, csv: "9223372036854775807", cell: int64(9223372036854775807), want: "9223372036854775807", notInR: true},
		{rule: "int64 has the full range", feature: "long", json: `"-9223372036854775808"`, csv: "-9223372036854775808", cell: int64(-9223372036854775808), want: "-9223372036854775808"},
		{rule: "int64 beyond doubles", feature: "long", json: `"9007199254740993"`, csv: "9007199254740993", cell: int64(9007199254740993), want: "9007199254740993", notInR: true},
		{rule: "int64 of round size", feature: "long", json: `"1000000000000000000"`, csv: "1000000000000000000", cell: int64(1e18), want: "1000000000000000000"},
		{rule: "a small int64 may be a number", feature: "long", json: "12", csv: "12", cell: int64(12), want: "12"},
		{rule: "a large one may not", feature: "long", json: "9007199254740993", csv: untold, cell: untold, refused: "string"},
		{rule: "beyond 64 bits", feature: "long", json: `"9223372036854775808"`, csv: "9223372036854775808", cell: untold, refused: "64 bits"},
		{rule: "a nullable int64", feature: "long_n", json: null, csv: "", cell: nil, want: none},
		{rule: "a nullable int64 keeps its digits", feature: "long_n", json: `"9007199254740993"`, csv: "9007199254740993", cell: int64(9007199254740993), want: "9007199254740993", notInR: true},

		{rule: "a number", feature: "size", json: "0.1", csv: "0.1", cell: 0.1, want: "0.1"},
		{rule: "a whole number", feature: "size", json: "3", csv: "3", cell: 3.0, want: "3"},
		{rule: "an exponent", feature: "size", json: "1.5E+3", csv: "1.5E+3", cell: 1500.0, want: "1500"},
		{rule: "every digit of a double", feature: "size", json: "2.2250738585072014e-308", csv: "2.2250738585072014e-308", cell: 2.2250738585072014e-308, want: "2.2250738585072014e-308", noSheet: true},
		{rule: "blanks around a number", feature: "size", json: " 2.5 ", csv: " 2.5 ", cell: 2.5, want: "2.5"},
		{rule: "NaN is no number", feature: "size", json: `"NaN"`, csv: "NaN", cell: nan, refused: anyReason},
		{rule: "NaN is not null either", feature: "size_n", json: `"NaN"`, csv: "NaN", cell: untold, refused: anyReason},
		{rule: "infinity is no number", feature: "size", json: `"inf"`, csv: "inf", cell: inf, refused: anyReason},
		{rule: "1e400 is no double", feature: "size", json: "1e400", csv: "1e400", cell: untold, refused: anyReason},
		{rule: "a decimal comma must be announced", feature: "size", json: `"1,5"`, csv: `"1,5"`, cell: untold, refused: anyReason},
		{rule: "a string is no number", feature: "size", json: `"1.5"`, csv: "one", cell: untold, refused: anyReason},
		{rule: "null needs nullable", feature: "size", json: null, csv: "", cell: nil, refused: "null"},
		{rule: "a nullable number", feature: "size_n", json: null, csv: "", cell: nil, want: none},
		{rule: "the minimum is allowed", feature: "part", json: "0", csv: "0", cell: 0.0, want: "0"},
		{rule: "below the minimum", feature: "part", json: "-0.01", csv: "-0.01", cell: -0.01, refused: "minimum"},
		{rule: "above the maximum", feature: "part", json: "1.01", csv: "1.01", cell: 1.01, refused: "maximum"},

		{rule: "a string", feature: "text", json: `"grün"`, csv: "grün", cell: "grün", want: "grün"},
		{rule: "a string with a quote, a comma and a line break", feature: "text", json: `"a \"b\", c\nd"`, csv: "\"a \"\"b\"\", c\nd\"", cell: "a \"b\", c\nd", want: "a \"b\", c\nd"},
		{rule: "a string beyond the basic plane", feature: "text", json: `"\ud83d\ude80"`, csv: "🚀", cell: "🚀", want: "🚀"},
		{rule: "a long string", feature: "text", json: `"` + long + `"`, csv: long, cell: long, want: long},
		{rule: "blanks belong to a string", feature: "text", json: `" a "`, csv: " a ", cell: " a ", want: " a "},
		{rule: "digits are a string", feature: "text", json: `"007"`, csv: "007", cell: "007", want: "007"},
		{rule: "NA is a string", feature: "text_n", json: `"NA"`, csv: "NA", cell: "NA", want: "NA"},
		{rule: "null is a string", feature: "text_n", json: `"null"`, csv: "null", cell: "null", want: "null"},
		{rule: "a number is no string", feature: "text", json: "7", csv: untold, cell: untold, refused: "string"},
		{rule: "a quoted empty cell is an empty string", feature: "text", json: `""`, csv: `""`, cell: "", want: "", noSheet: true},
		{rule: "an unquoted one is null", feature: "text", json: null, csv: "", cell: nil, refused: "null"},
		{rule: "a quoted empty cell is an empty string", feature: "text_n", json: `""`, csv: `""`, cell: "", want: "", noSheet: true},
		{rule: "an unquoted one is null", feature: "text_n", json: null, csv: "", cell: nil, want: none},
		{rule: "an empty string is no number", feature: "size_n", json: `""`, csv: `""`, cell: untold, refused: anyReason},

		{rule: "a date", feature: "day", json: `"2024-02-29"`, csv: "2024-02-29", cell: "2024-02-29", want: "2024-02-29"},
		{rule: "a date before 1970", feature: "day", json: `"1931-05-06"`, csv: "1931-05-06", cell: "1931-05-06", want: "1931-05-06"},
		{rule: "the first date there is", feature: "day", json: `"0001-01-01"`, csv: "0001-01-01", cell: "0001-01-01", want: "0001-01-01", noSheet: true},
		{rule: "the last date there is", feature: "day", json: `"9999-12-31"`, csv: "9999-12-31", cell: "9999-12-31", want: "9999-12-31"},
		{rule: "a date before the first", feature: "day", json: `"0000-12-31"`, csv: "0000-12-31", cell: untold, refused: anyReason},
		{rule: "a day that is none", feature: "day", json: `"2023-02-29"`, csv: "2023-02-29", cell: untold, refused: anyReason},
		{rule: "a date in another order", feature: "day", json: `"29.02.2024"`, csv: "29.02.2024", cell: untold, refused: anyReason},
		{rule: "a nullable date", feature: "day_n", json: null, csv: "", cell: nil, want: none},
		{rule: "a date-time", feature: "at", json: `"2024-01-02T03:04:05Z"`, csv: "2024-01-02T03:04:05Z", cell: "2024-01-02T03:04:05Z", want: "2024-01-02T03:04:05Z"},
		{rule: "a date-time with an offset is the same instant", feature: "at", json: `"2024-01-02T03:04:05+05:30"`, csv: "2024-01-02T03:04:05+05:30", cell: "2024-01-01T21:34:05Z", want: "2024-01-01T21:34:05Z"},
		{rule: "microseconds are kept", feature: "at", json: `"2024-01-02T03:04:05.123457Z"`, csv: "2024-01-02T03:04:05.123457Z", cell: "2024-01-02T03:04:05.123457Z", want: "2024-01-02T03:04:05.123457Z", noSheet: true},
		{rule: "a date-time before 1970", feature: "at", json: `"1931-05-06T00:00:00.000001Z"`, csv: "1931-05-06T00:00:00.000001Z", cell: "1931-05-06T00:00:00.000001Z", want: "1931-05-06T00:00:00.000001Z", noSheet: true},
		{rule: "a date-time whose instant is before the first", feature: "at", json: `"0001-01-01T00:00:00+01:00"`, csv: "0001-01-01T00:00:00+01:00", cell: untold, refused: anyReason},
		{rule: "without an offset it is no instant", feature: "at", json: `"2024-01-02T03:04:05"`, csv: "2024-01-02T03:04:05", cell: untold, refused: anyReason},
		{rule: "a nullable date-time", feature: "at_n", json: null, csv: "", cell: nil, want: none},

		{rule: "levels are in the order of the enum", feature: "side", json: `"west"`, csv: "west", cell: "west", want: "west"},
		{rule: "an unseen level is refused", feature: "side", json: `"north"`, csv: "north", cell: "north", refused: "north"},
		{rule: "a level in another case is unseen", feature: "side", json: `"West"`, csv: "West", cell: "West", refused: "west"},
		{rule: "a nullable enum", feature: "side_n", json: null, csv: "", cell: nil, want: none},
		{rule: "unknown: null", feature: "side_null", json: `"north"`, csv: "north", cell: "north", want: none},
		{rule: "unknown: null, known", feature: "side_null", json: `"west"`, csv: "west", cell: "west", want: "west"},
		{rule: "unknown: accept", feature: "side_any", json: `"north"`, csv: "north", cell: "north", want: "north"},
		{rule: "unknown: accept, known", feature: "side_any", json: `"west"`, csv: "west", cell: "west", want: "west"},
		{rule: "an enum of integers", feature: "grade", json: "3", csv: "3", cell: int64(3), want: "3"},
		{rule: "an enum of integers, 3.0", feature: "grade", json: "3.0", csv: "3.0", cell: int64(3), want: "3"},
		{rule: "an enum of integers, unseen", feature: "grade", json: "2", csv: "2", cell: int64(2), refused: "2"},
		{rule: "an enum of integers, null", feature: "grade", json: null, csv: "", cell: nil, want: none},

		{rule: "an array of fixed length", feature: "pair", json: "[0.1, 3]", csv: `"[0.1, 3]"`, cell: []float64{0.1, 3}, want: "[0.1,3]", noSheet: true},
		{rule: "too short", feature: "pair", json: "[1]", csv: `"[1]"`, cell: []float64{1}, refused: "exactly 2", noSheet: true},
		{rule: "too long", feature: "pair", json: "[1, 2, 3]", csv: `"[1, 2, 3]"`, cell: []float64{1, 2, 3}, refused: "exactly 2", noSheet: true},
		{rule: "an array's item of another type", feature: "pair", json: `[1, "x"]`, csv: `"[1, ""x""]"`, cell: untold, refused: "item 1"},
		{rule: "an array that is null", feature: "pair", json: null, csv: "", cell: nil, want: none},
		{rule: "an array of max_items", feature: "tags", json: `["a", "b", "c"]`, csv: `"[""a"", ""b"", ""c""]"`, cell: []string{"a", "b", "c"}, want: "[a,b,c]", noSheet: true},
		{rule: "an array of one", feature: "tags", json: `["a"]`, csv: `"[""a""]"`, cell: []string{"a"}, want: "[a]", noSheet: true},
		{rule: "an empty array", feature: "tags", json: "[]", csv: "[]", cell: []string{}, want: "[]", noSheet: true},
		{rule: "too many items", feature: "tags", json: `["a", "b", "c", "d"]`, csv: `"[""a"", ""b"", ""c"", ""d""]"`, cell: []string{"a", "b", "c", "d"}, refused: "3", noSheet: true},
		{rule: "an array that is null", feature: "tags", json: null, csv: "", cell: nil, want: none},

		{rule: "an array of int64", feature: "longs", json: `["9007199254740992", "-3"]`, csv: `"[""9007199254740992"", ""-3""]"`, cell: []int64{9007199254740992, -3}, want: "[9007199254740992,-3]"},
		{rule: "an array's int64 beyond doubles", feature: "longs", json: `["1", "9007199254740993"]`, csv: `"[""1"", ""9007199254740993""]"`, cell: []int64{1, 9007199254740993}, want: "[1,9007199254740993]", notInR: true},
		{rule: "an array of int64 that is empty", feature: "longs", json: "[]", csv: "[]", cell: []int64{}, want: "[]"},
		{rule: "an array of int64 that is null", feature: "longs", json: null, csv: "", cell: nil, want: none},

		{rule: "absent is not null", feature: "count_n", json: leaveOut, csv: untold, cell: untold, refused: anyReason},
		{rule: "absent is not null", feature: "size", json: leaveOut, csv: untold, cell: untold, refused: anyReason},
		{rule: "a default fills an absent key", feature: "filled", json: leaveOut, csv: untold, cell: untold, want: "0.5"},
		{rule: "a default is not for null", feature: "filled", json: null, csv: "", cell: nil, refused: "null"},
		{rule: "a default of null", feature: "filled_null", json: leaveOut, csv: untold, cell: untold, want: none},
	}
}
