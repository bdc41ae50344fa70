// Runs text/template over lines of JSON: {"template", "data"} in, {"text"} or {"error"} out. Numbers without a
// point are ints; the template has Ollama's options and functions.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"text/template"
	"time"
)

type request struct {
	Template string
	Data     any
}

type answer struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

func withInts(value any) any {
	switch value := value.(type) {
	case json.Number:
		if number, err := value.Int64(); err == nil && !strings.ContainsAny(string(value), ".eE") {
			return int(number)
		}
		number, _ := value.Float64()
		return number
	case []any:
		for at, each := range value {
			value[at] = withInts(each)
		}
	case map[string]any:
		for name, each := range value {
			value[name] = withInts(each)
		}
	}
	return value
}

func run(line []byte) (result answer) {
	var asked request
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&asked); err != nil {
		panic(err)
	}
	functions := template.FuncMap{
		"json":             func(value any) string { text, _ := json.Marshal(value); return string(text) },
		"currentDate":      func(...string) string { return time.Now().Format("2006-01-02") },
		"yesterdayDate":    func(...string) string { return time.Now().AddDate(0, 0, -1).Format("2006-01-02") },
		"toTypeScriptType": func(any) string { return "any" },
	}
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(asked.Template)
	if err != nil {
		return answer{Error: err.Error()}
	}
	var text bytes.Buffer
	if err := parsed.Execute(&text, withInts(asked.Data)); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Text: text.String()}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for lines.Scan() {
		if err := out.Encode(run(lines.Bytes())); err != nil {
			panic(err)
		}
	}
}
