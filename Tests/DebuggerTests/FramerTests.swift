import Testing

@testable import Debugger

@Suite struct FramerTests {
  @Test func packetsAreCutAtAnySplit() {
    let bytes = Array("+$g#67\u{3}$X10,2:}\u{3}a#".utf8) + Array("??".utf8)
    var whole = GDBFramer()
    #expect(whole.feed(bytes) == [.packet(Array("g".utf8)), .interrupt, .broken])
    var pieces = GDBFramer()
    #expect(bytes.flatMap { pieces.feed([$0]) } == [.packet(Array("g".utf8)), .interrupt, .broken])
  }

  @Test func whatLooksLikeFramingIsEscaped() {
    let payload: [UInt8] = [0x61, 0x23, 0x24, 0x7D, 0x2A, 0, 255]
    var framer = GDBFramer()
    #expect(framer.feed(GDBFramer.packet(payload)) == [.packet(payload)])
  }

  @Test func aPacketHasABound() {
    var framer = GDBFramer()
    let long = [UInt8](repeating: 0x61, count: GDBFramer.limit + 1)
    #expect(framer.feed(GDBFramer.packet(long)) == [.broken])
    #expect(framer.feed(GDBFramer.packet(long.dropLast())) == [.packet(Array(long.dropLast()))])
  }
}
