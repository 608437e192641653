import Testing

@testable import Management

@Suite struct RunConsoleTests {
  @Test(arguments: [1, 2, 3, 100])
  func aTextIsFoundHoweverItComes(piece: Int) {
    func isFound(_ text: String, in all: String) -> Bool {
      var watch = TextWatch(text)
      let bytes = Array(all.utf8)
      return stride(from: 0, to: bytes.count, by: piece).contains { start in
        watch.isFound(in: bytes[start..<min(start + piece, bytes.count)])
      }
    }
    #expect(isFound("aab", in: "xaaab"))
    #expect(isFound("abcabd", in: "abcabcabd"))
    #expect(isFound("login: ", in: "debian login: "))
    #expect(!isFound("abc", in: "ab ac bc"))
    #expect(!isFound("", in: "anything"))
  }

  @Test func keysBehindThePrefixAreNotTheGuests() {
    var keys = PrefixKeys()
    #expect(keys.take([97, 1]) == ([97], false))
    #expect(keys.take([1, 98]) == ([1, 98], false))
    #expect(keys.take([1, 99]) == ([1, 99], false))
    #expect(keys.take([100, 1]) == ([100], false))
    #expect(keys.take([120, 101]) == ([], true))
  }
}
