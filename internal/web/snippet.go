package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// codeBlock is a call, written for a program.
type codeBlock struct{ Name, Text string }

// codeFor writes the call that the form makes, as curl, Python and R.
func (v *visit) codeFor(page *tryPage, row json.RawMessage) []codeBlock {
	address := v.publicURL() + "/v1" + pathOf("models", page.Name)
	if page.Version != 0 {
		address += "/versions/" + strconv.Itoa(page.Version)
	}
	address += "/predict"
	body := `{"rows": [` + string(row) + `]}`
	return []codeBlock{
		{"curl", curlCode(address, body, v.session.Token != "")},
		{"Python", pythonCode(address, row, v.session.Token != "")},
		{"R", rCode(address, body, v.session.Token != "")},
	}
}

// publicURL is the server's address as others reach it: the one it was told,
// or the one by which the visitor does.
func (v *visit) publicURL() string {
	if v.web.PublicURL != "" {
		return strings.TrimSuffix(v.web.PublicURL, "/")
	}
	if v.https() {
		return "https://" + v.r.Host
	}
	return "http://" + v.r.Host
}

func curlCode(address, body string, signedIn bool) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	header := ""
	if signedIn {
		header = ` -H "Authorization: Bearer $MM_TOKEN"`
	}
	return fmt.Sprintf("curl %s%s \\\n  -H 'Content-Type: application/json' \\\n  -d %s\n", quote(address), header, quote(body))
}

func pythonCode(address string, row json.RawMessage, signedIn bool) string {
	imports, headers := "import requests\n", ""
	if signedIn {
		imports = "import os\n\nimport requests\n"
		headers = "    headers={\"Authorization\": \"Bearer \" + os.environ[\"MM_TOKEN\"]},\n"
	}
	return fmt.Sprintf("%s\nresponse = requests.post(\n    %s,\n%s    json={\"rows\": [%s]},\n    timeout=60,\n)\nresponse.raise_for_status()\nprint(response.json()[\"predictions\"][0])\n",
		imports, encoded(address), headers, pythonLiteral(row))
}

func rCode(address, body string, signedIn bool) string {
	auth := ""
	if signedIn {
		auth = "  req_auth_bearer_token(Sys.getenv(\"MM_TOKEN\")) |>\n"
	}
	dashes := "-" // a raw string ends at the first ) with as many dashes and a quote
	for strings.Contains(body, ")"+dashes+`"`) {
		dashes += "-"
	}
	return fmt.Sprintf("library(httr2)\n\nanswer <- request(%s) |>\n%s  req_body_raw(r\"%s(%s)%s\", \"application/json\") |>\n  req_perform() |>\n  resp_body_json()\nanswer$predictions[[1]]\n",
		encoded(address), auth, dashes, body, dashes)
}

// pythonLiteral writes a JSON value in Python. JSON's strings and numbers are
// Python's, too.
func pythonLiteral(data json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var b strings.Builder
	var depth []json.Delim
	key, first := false, true
	for {
		token, err := decoder.Token()
		if err != nil {
			return b.String()
		}
		if closing, ok := token.(json.Delim); ok && (closing == '}' || closing == ']') {
			b.WriteRune(rune(closing))
			depth = depth[:len(depth)-1]
			first, key = false, len(depth) > 0 && depth[len(depth)-1] == '{'
			continue
		}
		if len(depth) > 0 && !first && (key || depth[len(depth)-1] == '[') {
			b.WriteString(", ")
		}
		first = false
		inObject := len(depth) > 0 && depth[len(depth)-1] == '{'
		switch token := token.(type) {
		case json.Delim:
			b.WriteRune(rune(token))
			depth = append(depth, token)
			first, key = true, token == '{'
			continue
		case nil:
			b.WriteString("None")
		case bool:
			b.WriteString(map[bool]string{true: "True", false: "False"}[token])
		case json.Number:
			b.WriteString(token.String())
		case string:
			b.Write(encoded(token))
		}
		if inObject && key {
			b.WriteString(": ")
		}
		key = inObject && !key
	}
}
