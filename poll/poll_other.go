//go:build !linux

package poll

type interest uint32

const leaving, readable interest = 1, 2

type line struct{ book }

func openLine() (*line, error) { return nil, ErrUnsupported }

func (l *line) close() {}

func (l *line) run() {}

func (l *line) watch(int, interest, func()) (func(), error) { return nil, ErrUnsupported }

func (l *line) drop(int) {}
