import Testing

@testable import Management

@Suite struct TelnetCodecTests {
  private static let iac: UInt8 = 255
  /// What a telnet client answers to the greeting: DO ECHO, DO SGA, WILL SGA, DO BINARY, WILL BINARY.
  private static let agreement: [UInt8] = [255, 253, 1, 255, 253, 3, 255, 251, 3, 255, 253, 0, 255, 251, 0]

  private static let conversations: [(input: [UInt8], data: [UInt8], reply: [UInt8])] = [
    (Array("ls -l\n".utf8), Array("ls -l\n".utf8), []),
    (agreement + [3, 27, 91, 65, 13], [3, 27, 91, 65, 13], []),
    (agreement + [1, 255, 255, 2], [1, 255, 2], []),
    (agreement + [13, 0, 13, 10], [13, 0, 13, 10], []),
    // Without binary mode a line's end is CR NUL or CR LF.
    ([255, 253, 1, 13, 0, 65, 13, 10, 66], [13, 65, 13, 66], []),
    // An option of the client's that nobody asked for (RFC 1408) is refused, once; its subnegotiation is skipped.
    ([255, 251, 36, 255, 250, 36, 0, 80, 255, 255, 24, 255, 240, 97, 255, 251, 36], [97], [255, 254, 36]),
    ([255, 253, 24, 97], [97], [255, 252, 24]),
    // Interrupt Process is ^C, Erase Character is delete.
    ([255, 244, 255, 247], [3, 0x7F], []),
    ([255, 241, 255, 249, 120], [120], []),
  ]

  @Test(arguments: conversations.indices)
  func everySplitOfTheStreamGivesTheSame(_ index: Int) {
    let talk = Self.conversations[index]
    for split in 0...talk.input.count {
      var codec = TelnetCodec()
      let first = codec.receive(talk.input[..<split])
      let second = codec.receive(talk.input[split...])
      #expect(first.data + second.data == talk.data, "split at \(split)")
      #expect(first.reply + second.reply == talk.reply, "split at \(split)")
    }
    var single = TelnetCodec()
    #expect(talk.input.flatMap { single.receive([$0]).data } == talk.data)
  }

  /// RFC 854: a break is no character.
  @Test func aBreakIsToldApart() {
    var codec = TelnetCodec()
    #expect(codec.receive([97, 255, 243, 98]).data == [97, 98])
    #expect(codec.takeBreaks() == 1 && codec.takeBreaks() == 0)
  }

  /// RFC 1073: a byte of 255 comes twice.
  @Test func theWindowsSizeIsTold() {
    var codec = TelnetCodec()
    let talk: [UInt8] = [255, 251, 31, 255, 250, 31, 0, 132, 0, 43, 255, 240, 97]
    let result = codec.receive(talk)
    #expect(result.data == [97] && result.reply.isEmpty)
    let size = codec.takeSize()
    #expect(size?.columns == 132 && size?.rows == 43)
    #expect(codec.takeSize() == nil)
    _ = codec.receive([255, 250, 31, 0, 255, 255, 1, 0, 255, 240])
    let wide = codec.takeSize()
    #expect(wide?.columns == 255 && wide?.rows == 256)
    // Neither too much nor too little is a size.
    _ = codec.receive([255, 250, 31, 0, 80, 0, 255, 240, 255, 250, 31, 0, 80, 0, 25, 0, 255, 240])
    #expect(codec.takeSize() == nil)
  }

  @Test func theGreetingOffersEchoAndBinary() {
    let greeting = TelnetCodec.greeting
    #expect(greeting == [255, 251, 1, 255, 251, 3, 255, 253, 3, 255, 251, 0, 255, 253, 0, 255, 253, 31])
  }

  @Test func outputIsEscapedForTelnetAndLeftAloneForOthers() {
    var plain = TelnetCodec()
    #expect(plain.send([255, 13, 65]) == [255, 13, 65])
    var binary = TelnetCodec()
    _ = binary.receive(Self.agreement)
    #expect(binary.send([255, 13, 65]) == [255, 255, 13, 65])
    var terminal = TelnetCodec()
    _ = terminal.receive([255, 253, 1])
    #expect(terminal.send([13, 10, 13]) + terminal.send([65, 255]) == [13, 10, 13, 0, 65, 255, 255])
  }

  @Test func agreementIsNotAnsweredAgain() {
    var codec = TelnetCodec()
    #expect(codec.receive(Self.agreement + Self.agreement).reply.isEmpty)
  }

  @Test func randomBytesNeverMakeMoreDataThanCame() {
    var codec = TelnetCodec()
    for _ in 0..<200 {
      let bytes = (0..<50).map { _ in Bool.random() ? UInt8.random(in: 239...255) : UInt8.random(in: 0...255) }
      #expect(codec.receive(bytes).data.count <= bytes.count)
    }
  }
}
