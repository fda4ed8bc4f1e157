package filespool

// OpenInline is Open for tests that count operations: nothing happens in the
// background.
func OpenInline(dir string, o Options) (*Spool, error) {
	o.inline = true
	return Open(dir, o)
}
