package stream

import "testing"

func BenchmarkBorder(b *testing.B) {
	token := benchmarkToken[Chat]
	for name, text := range map[string]string{"whole": token, "half": token[:150], "whole and half": token + token[:150]} {
		b.Run(name, func(b *testing.B) {
			buf := []byte(text)
			for b.Loop() {
				Chat.Border(buf, 0)
			}
		})
	}
}
