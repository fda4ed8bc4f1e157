package control

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Shape counts recipients by the domain they are in and by the age of their
// messages, as Postfix's qshape does: what of a queue is old, and where it is to
// go. The zero value is ready to use.
type Shape struct {
	Senders bool          // count messages by their sender's domain instead; false counts recipients
	First   time.Duration // age at which the first column ends; each next one ends at twice as much. Zero means 5 minutes
	Buckets int           // columns, of which the last has no end; zero means 10
	Width   int           // of a line, columns; zero means 80

	domains map[string][]int // the total, and what is in each column
	total   []int
}

// Add counts a message. Its age is that at now.
func (s *Shape) Add(m *Message, now time.Time) {
	if s.domains == nil {
		s.domains = make(map[string][]int)
		s.total = make([]int, s.buckets()+1)
	}
	column := s.column(now.Sub(m.Arrival))
	if s.Senders {
		s.count(m.Sender, column)
		return
	}
	for i := range m.Recipients {
		s.count(m.Recipients[i].Address, column)
	}
}

func (s *Shape) count(address string, column int) {
	domain := "MAILER-DAEMON"
	if address != "" {
		domain = strings.Trim(strings.ToLower(address[strings.LastIndexByte(address, '@')+1:]), ".")
	}
	row := s.domains[domain]
	if row == nil {
		row = make([]int, len(s.total))
		s.domains[domain] = row
	}
	for _, counts := range [][]int{row, s.total} {
		counts[0]++
		counts[column]++
	}
}

func (s *Shape) buckets() int { return cmp.Or(max(s.Buckets, 0), 10) }

func (s *Shape) first() time.Duration { return cmp.Or(max(s.First, 0), 5*time.Minute) }

// column returns where an age is counted: from 1 on.
func (s *Shape) column(age time.Duration) int {
	n := 1
	for end := s.first(); n < s.buckets() && age >= end && end > 0; end *= 2 {
		n++
	}
	return n
}

// WriteTo writes the table: a line with the total, and then the domains of which
// there is most. The columns are headed by the minutes at which they end.
func (s *Shape) WriteTo(w io.Writer) (int64, error) {
	heads, last := []string{"T"}, "0"
	for n, end := 1, s.first(); n < s.buckets(); n, end = n+1, end*2 {
		last = fmt.Sprint(int64(end / time.Minute))
		heads = append(heads, last)
	}
	heads = append(heads, last+"+")
	if s.total == nil {
		s.total = make([]int, len(heads))
	}
	widths, left := make([]int, len(heads)), cmp.Or(s.Width, 80)
	for i := range heads {
		widths[i] = max(len(heads[i]), len(fmt.Sprint(s.total[i])), 2) + 1
		left -= widths[i]
	}
	t := rows{w: w, name: max(left, 18), widths: widths}
	t.row("", heads)
	t.row("TOTAL", numbers(s.total))
	for _, domain := range s.sorted() {
		t.row(Printable(domain), numbers(s.domains[domain]))
	}
	return t.n, t.err
}

func numbers(counts []int) (texts []string) {
	for _, n := range counts {
		texts = append(texts, fmt.Sprint(n))
	}
	return texts
}

// sorted returns the domains, those with most first.
func (s *Shape) sorted() []string {
	var list []string
	for domain := range s.domains {
		list = append(list, domain)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.domains[b][0], s.domains[a][0]), cmp.Compare(a, b))
	})
	return list
}

// rows writes lines whose names and numbers end in columns.
type rows struct {
	w      io.Writer
	name   int
	widths []int
	n      int64
	err    error
}

func (t *rows) row(name string, cells []string) {
	if t.err != nil {
		return
	}
	if r := []rune(name); len(r) > t.name { // its end tells more
		name = "+" + string(r[len(r)-t.name+1:])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%*s", t.name, name)
	for i, c := range cells {
		fmt.Fprintf(&b, "%*s", t.widths[i], c)
	}
	b.WriteByte('\n')
	n, err := io.WriteString(t.w, b.String())
	t.n, t.err = t.n+int64(n), err
}
