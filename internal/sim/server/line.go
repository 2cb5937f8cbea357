package server

// line is a queue of jobs in a ring, whose size is a power of two. What leaves it stays
// in the array until it is written over, so that a copy of the line, which shares the
// array, can be pushed to once and then popped, and the line notices nothing.
type line struct {
	jobs []Job
	head int
	n    int
}

// at returns the job with i others before it.
func (l *line) at(i int) *Job { return &l.jobs[(l.head+i)&(len(l.jobs)-1)] }

func (l *line) push(j Job) {
	if l.n == len(l.jobs) {
		l.grow()
	}
	l.n++
	*l.at(l.n - 1) = j
}

func (l *line) grow() {
	larger := make([]Job, max(2*len(l.jobs), 16))
	for i := range l.n {
		larger[i] = *l.at(i)
	}
	l.jobs, l.head = larger, 0
}

func (l *line) pop() {
	l.head = (l.head + 1) & (len(l.jobs) - 1)
	l.n--
}

// remove lets those behind move up.
func (l *line) remove(i int) {
	for ; i < l.n-1; i++ {
		*l.at(i) = *l.at(i + 1)
	}
	l.n--
}

// find returns a job's position, −1 when it is not in line.
func (l *line) find(id uint64) int {
	for i := range l.n {
		if l.at(i).ID == id {
			return i
		}
	}
	return -1
}
