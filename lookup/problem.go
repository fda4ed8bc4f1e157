package lookup

import (
	"fmt"
	"strconv"
)

// maxProblems is how many bad lines of one file are kept and logged. More of
// them say nothing new, and a binary file has millions.
const maxProblems = 100

// problems collects what was wrong with the lines of one text.
type problems struct {
	kept []error
	more int
}

func (p *problems) add(err error) {
	if len(p.kept) == maxProblems {
		p.more++
		return
	}
	p.kept = append(p.kept, err)
}

func (p *problems) all() []error {
	if p.more > 0 {
		return append(p.kept, fmt.Errorf("and %d more lines like these", p.more))
	}
	return p.kept
}

// quoteShort quotes what came out of a file for a log line.
func quoteShort(s string) string {
	if len(s) > 60 {
		return strconv.Quote(s[:60]) + "..."
	}
	return strconv.Quote(s)
}
