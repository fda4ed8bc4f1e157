package lookup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Params are the parameters of a *.cf file of any type of table. What is asked for and
// no good is kept for Err, and reads as if it were not there. They belong to one
// goroutine.
type Params struct {
	values map[string]string
	errs   []error
}

// ReadParams reads the "name = value" lines of a file. The last of two with the same
// name counts.
func ReadParams(path string) (*Params, error) {
	text, _, err := readText(path)
	if err != nil {
		return nil, err
	}
	values, err := parseParams(path, text)
	if err != nil {
		return nil, err
	}
	return &Params{values: values}, nil
}

// Has reports whether a parameter is there, perhaps empty.
func (p *Params) Has(name string) bool {
	_, ok := p.values[name]
	return ok
}

// Text returns a parameter; "" when it is not there.
func (p *Params) Text(name string) string { return p.values[name] }

// Words parts a parameter at commas and white space.
func (p *Params) Words(name string) []string { return listWords(p.values[name]) }

// Number returns a parameter from least to 1<<30, or def when it is not there.
func (p *Params) Number(name string, def, least int) int {
	if p.values[name] == "" {
		return def
	}
	n, err := strconv.Atoi(p.values[name])
	if err != nil || n < least || n > 1<<30 {
		p.Reject(name)
		return def
	}
	return n
}

// Seconds returns a parameter of one or more seconds; 0 when it is not there.
func (p *Params) Seconds(name string) time.Duration {
	return time.Duration(p.Number(name, 0, 1)) * time.Second
}

// Yes returns a parameter that is yes or no, or 1 or 0 as older manuals have them;
// false when it is not there.
func (p *Params) Yes(name string) bool {
	switch strings.ToLower(p.values[name]) {
	case "yes", "1":
		return true
	case "", "no", "0":
		return false
	}
	p.Reject(name)
	return false
}

// Template returns a parameter with %-expansions, or that of def when it is not there.
func (p *Params) Template(name, def string) Template {
	text := p.values[name]
	if text == "" {
		text = def
	}
	t, err := ParseTemplate(text)
	if err != nil {
		p.Note(fmt.Errorf("%s: %w", name, err))
	}
	return t
}

// Reject notes that the value of a parameter is no good.
func (p *Params) Reject(name string) { p.Note(fmt.Errorf("bad %s %q", name, p.values[name])) }

// Note notes what is wrong with the file beside the value of one parameter.
func (p *Params) Note(err error) { p.errs = append(p.errs, err) }

// Err returns all that was noted, nil for nothing.
func (p *Params) Err() error { return errors.Join(p.errs...) }
