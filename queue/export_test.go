package queue

// FlushLogged is how many messages the log has for a domain.
func FlushLogged(m *Manager, site string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.flush.sites[site]; s != nil {
		return len(s.ids)
	}
	return 0
}
