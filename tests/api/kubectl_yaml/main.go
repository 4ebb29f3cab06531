// Command kubectl_yaml writes down how kubectl reads YAML.
//
// It reads the corpus, a JSON list of {why, yaml}, from the first argument and writes the same list
// to standard output with what sigs.k8s.io/yaml makes of each: `json`, or `error`; and `strict`,
// true where the strict form of the same package accepts it too (it refuses duplicate keys).
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

type example struct {
	Why    string          `json:"why"`
	YAML   string          `json:"yaml"`
	JSON   json.RawMessage `json:"json,omitempty"`
	Error  string          `json:"error,omitempty"`
	Strict bool            `json:"strict"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var examples []example
	if err := json.Unmarshal(text, &examples); err != nil {
		return err
	}
	for i := range examples {
		examples[i].read()
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(examples)
}

func (e *example) read() {
	found, err := yaml.YAMLToJSON([]byte(e.YAML))
	if err != nil {
		e.Error = err.Error()
		return
	}
	e.JSON = found
	_, err = yaml.YAMLToJSONStrict([]byte(e.YAML))
	e.Strict = err == nil
}
