package local

import (
	"bufio"
	"io"
)

func letterLines(w io.Writer) *unixLines {
	return &unixLines{w: bufio.NewWriter(w), quote: true, start: true}
}
