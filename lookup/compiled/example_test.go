package compiled_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/compiled"
)

// object is a format of one's own: a JSON object of strings.
type object map[string]string

func (o object) Get(key string) (string, bool, error) {
	value, ok := o[key]
	return value, ok, nil
}

func openJSON(file *os.File, _ int64) (compiled.Version, error) {
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("%w: %w", compiled.ErrFormat, err)
	}
	return o, nil
}

func Example() {
	dir, err := os.MkdirTemp("", "compiled")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "domains.json")
	if err := os.WriteFile(path, []byte(`{"example.org": "OK"}`), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	table, err := compiled.Open(path, openJSON, lookup.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(table.Lookup(context.Background(), "Example.ORG"))
	// Output: OK true <nil>
}
