import Foundation
import Testing

@testable import Management

@Suite struct ConsoleWatchTests {
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

  @Test func aGuestThatNeverPausesHasNoMoreTimeThanOthers() throws {
    var ends: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    let (console, guest) = (ends[0], ends[1])
    let ended = DispatchSemaphore(value: 0)
    Thread {
      let words = [UInt8](repeating: 46, count: 4096)
      while send(guest, words, words.count, Int32(MSG_NOSIGNAL)) > 0 {}
      close(guest)
      ended.signal()
    }.start()
    let nowhere = open("/dev/null", O_RDWR)
    var link = ConsoleLink(console, keys: .none)
    (link.timeout, link.endsWithInput) = (0.05, false)
    #expect(link.join(input: nowhere, output: nowhere) == .timedOut)
    close(nowhere)
    close(console)
    ended.wait()
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
