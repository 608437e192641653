import Testing

@testable import Devices

@Suite struct Keyboard8042Tests {
  private func board() throws -> (TestBoard, Keyboard8042) {
    let board = try TestBoard()
    let kbd = Keyboard8042(
      ports: board.ports, clock: board.time.clock, keyboardIRQ: board.wires.line(1), mouseIRQ: board.wires.line(12))
    return (board, kbd)
  }

  /// Reads all that comes, also what comes later because keys have a pace.
  private func drain(_ board: TestBoard) -> [UInt32] {
    var bytes: [UInt32] = []
    var quiet = 0
    while quiet < 3 && bytes.count < 100_000 {
      while board.in(0x64) & 1 != 0 {
        bytes.append(board.in(0x60))
        quiet = 0
      }
      board.time.advance(nanoseconds: KeyQueue.interval)
      quiet += 1
    }
    return bytes
  }

  private func mouse(_ board: TestBoard, _ bytes: UInt32...) -> [UInt32] {
    var answers: [UInt32] = []
    for byte in bytes {
      board.out(0x64, 0xD4)
      board.out(0x60, byte)
      answers += drain(board)
    }
    return answers
  }

  @Test func theControllersCommandsAnswer() throws {
    let (board, _kbd) = try board()
    for (command, answer) in [(0xAA, 0x55), (0xAB, 0), (0xA9, 0)] as [(UInt32, UInt32)] {
      board.out(0x64, command)
      #expect(drain(board) == [answer])
    }
    board.out(0x64, 0x60)
    board.out(0x60, 0x61)
    board.out(0x64, 0x20)
    #expect(drain(board) == [0x61])
    withExtendedLifetime(_kbd) {}
  }

  @Test func theKeyboardsCommandsAnswer() throws {
    let (board, kbd) = try board()
    var leds: UInt8 = 0
    kbd.onLEDs = { leds = $0 }
    let cases: [([UInt32], [UInt32])] = [
      ([0xFF], [0xFA, 0xAA]), ([0xF2], [0xFA, 0xAB, 0x41]), ([0xED, 7], [0xFA, 0xFA]), ([0xEE], [0xEE]),
      ([0xF3, 0x20], [0xFA, 0xFA]), ([0xF0, 0], [0xFA, 0xFA, 0x41]), ([0xF5], [0xFA]), ([0xF4], [0xFA]),
    ]
    for (bytes, answers) in cases {
      for byte in bytes { board.out(0x60, byte) }
      #expect(drain(board) == answers, "command \(bytes)")
    }
    #expect(leds == 7)
  }

  @Test func textArrivesAsSet1CodesThroughTheTranslation() throws {
    let (board, kbd) = try board()
    #expect(kbd.type("aB\n"))
    #expect(drain(board) == [0x1E, 0x9E, 0x2A, 0x30, 0xB0, 0xAA, 0x1C, 0x9C])
    #expect(kbd.type("é"))
    #expect(drain(board) == [], "there is no such key")
    #expect(kbd.key([0xE0, 0x48, 0xE0, 0xC8]))
    #expect(drain(board) == [0xE0, 0x48, 0xE0, 0xC8])
  }

  @Test func withoutTranslationSet2Arrives() throws {
    let (board, kbd) = try board()
    board.out(0x64, 0x60)
    board.out(0x60, 0x05)
    #expect(kbd.key([0x1E, 0x9E, 0x41, 0xC1]))
    #expect(drain(board) == [0x1C, 0xF0, 0x1C, 0x83, 0xF0, 0x83])
  }

  @Test func everyTypedCharacterSurvivesTheWay() throws {
    let (board, kbd) = try board()
    for value in UInt8(32)..<127 {
      let character = Character(Unicode.Scalar(value))
      #expect(kbd.type(String(character)))
      #expect(drain(board) == ScanCodes.type(character)?.map(UInt32.init), "\(character)")
    }
  }

  @Test func longTextWaitsForTheGuestAndNothingOfItIsLost() throws {
    let (board, kbd) = try board()
    let text = String((0..<5000).map { Character(Unicode.Scalar(UInt8(97 + $0 % 26))) })
    #expect(kbd.type(text))
    #expect(drain(board) == text.flatMap { ScanCodes.type($0) ?? [] }.map(UInt32.init))
  }

  @Test func keysComeNoFasterThanAFirmwareTakesThem() throws {
    let (board, kbd) = try board()
    #expect(kbd.type("abcd"))
    for _ in 0..<8 {
      #expect(board.in(0x64) & 1 != 0)
      _ = board.in(0x60)
      #expect(board.in(0x64) & 1 == 0, "the next one has its own time")
      board.time.advance(nanoseconds: KeyQueue.interval)
    }
  }

  @Test func keysWaitWhileTheKeyboardIsOff() throws {
    let (board, kbd) = try board()
    board.out(0x60, 0xF5)
    #expect(drain(board) == [0xFA])
    #expect(kbd.type("a"))
    #expect(drain(board) == [])
    board.out(0x60, 0xF4)
    #expect(drain(board) == [0xFA, 0x1E, 0x9E])
  }

  @Test func moreThanCanWaitIsRefusedAsAWhole() throws {
    let (board, kbd) = try board()
    board.out(0x60, 0xF5)
    #expect(kbd.key(Array(repeating: 0x1E, count: KeyQueue.limit - 1)))
    #expect(!kbd.key([0x1E, 0x9E]))
    #expect(kbd.key([0x1E]))
  }

  @Test func eachByteMakesAnEdgeOfIRQ1() throws {
    let (board, kbd) = try board()
    board.initialisePICs()
    #expect(kbd.key([0x1E, 0x9E]))
    for _ in 0..<2 {
      #expect(board.pic.acknowledge() == 0x21)
      _ = board.in(0x60)
      board.out(0x20, 0x20)
      board.time.advance(nanoseconds: KeyQueue.interval)
    }
    #expect(!board.pic.output)
  }

  @Test func theMouseReportsMovementAndTheWheelAfterTheKnock() throws {
    let (board, kbd) = try board()
    #expect(mouse(board, 0xFF) == [0xFA, 0xAA, 0])
    #expect(mouse(board, 0xF2) == [0xFA, 0])
    #expect(mouse(board, 0xF4) == [0xFA])
    kbd.mouseEvent(dx: 5, dy: 3, buttons: 1)
    #expect(drain(board) == [0x29, 5, 0xFD])
    _ = mouse(board, 0xF3, 200, 0xF3, 100, 0xF3, 80)
    #expect(mouse(board, 0xF2) == [0xFA, 3])
    kbd.mouseEvent(dx: 0, dy: 0, dz: -1, buttons: 0)
    #expect(drain(board) == [0x08, 0, 0, 0xFF])
  }

  @Test func a20AndResetReachTheBoard() throws {
    let (board, kbd) = try board()
    var a20: [Bool] = []
    var resets = 0
    kbd.onA20 = { a20.append($0) }
    kbd.onReset = { resets += 1 }
    board.out(0x64, 0xD1)
    board.out(0x60, 0xDD)
    board.out(0x64, 0xDF)
    board.out(0x64, 0xFE)
    #expect(a20 == [false, true])
    #expect(resets == 1)
  }
}
