# Runs each "$ proxima simulate" line of a document, and puts what it prints in place
# of what stood below the line, up to the end of its block: make experiments.
/^\$ proxima simulate/ {
	print
	fflush()
	if (system(substr($0, 3)) != 0) {
		exit 1
	}
	replacing = 1
	next
}
/^```/ { replacing = 0 }
!replacing
