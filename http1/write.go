package http1

import (
	"net/http"
	"strconv"
)

// AppendHeader appends the fields of h as lines, each ended by CRLF, in no order,
// without those that skip (nil: none) names. Bytes that no value may hold (CR, LF, NUL
// and other controls) become spaces; names that are no tokens are left out.
func AppendHeader(dst []byte, h http.Header, skip func(name string) bool) []byte {
	for name, values := range h {
		if !IsToken(name) || skip != nil && skip(name) {
			continue
		}
		for _, value := range values {
			dst = append(append(dst, name...), ": "...)
			dst = append(appendValue(dst, value), "\r\n"...)
		}
	}
	return dst
}

func appendValue(dst []byte, value string) []byte {
	from := len(dst)
	dst = append(dst, value...)
	for added := dst[from:]; ; {
		added = added[valueSpan(added):]
		if len(added) == 0 {
			return dst
		}
		added[0] = ' '
	}
}

// AppendChunk appends data as a chunk: its size, the data, CRLF. No data is no chunk,
// since an empty one would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body, with a trailer (nil: none).
func AppendLastChunk(dst []byte, trailer http.Header) []byte {
	dst = append(dst, "0\r\n"...)
	dst = AppendHeader(dst, trailer, nil)
	return append(dst, "\r\n"...)
}
