import Foundation
import HostNetwork
import Machine

/// One viewer of a machine's screen, as the machine's process keeps it.
final class ScreenSeat {
  let socket: Int32
  /// Messages taken in one turn: then it is the others' turn.
  private static let turn = 32

  var wantsChanges = false
  var changes = ChangedLines(width: 0, height: 0)
  /// Whether the picture is another than the one that it knows.
  var needsPicture = true
  private var held = HeldKeys()
  private var buttons: UInt8 = 0
  /// Where the pointer is, for who says places.
  private var place: (x: Int, y: Int)?

  init(_ socket: Int32) {
    self.socket = socket
    _ = fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK)
    _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
  }

  deinit { close(socket) }

  /// - Returns: false when the viewer is gone, or has not read what it has asked for.
  func tell(_ news: ScreenNews, _ descriptors: [Int32] = []) -> Bool {
    DescriptorPassing.send(socket, news.encoded, descriptors)
  }

  /// Takes what the viewer has said.
  /// - Returns: false when it is gone, or has said what no viewer says.
  func listen(_ vm: VirtualMachine?) -> Bool {
    for _ in 0..<Self.turn {
      switch DescriptorPassing.receiveNow(socket) {
      case .wouldBlock: return true
      case .ended: return false
      case .moved(let bytes, let descriptors):
        for descriptor in descriptors { close(descriptor) }
        guard descriptors.isEmpty, let input = ScreenInput(bytes), take(input, vm) else { return false }
      }
    }
    return true
  }

  private func take(_ input: ScreenInput, _ vm: VirtualMachine?) -> Bool {
    // A machine that stands still gets no keys, but lets go of those that are down.
    let runs = vm?.runState == .running
    switch input {
    case .wantsChanges: wantsChanges = true
    case .keys(let codes):
      guard let strokes = HeldKeys.strokes(codes) else { return false }
      let taken = strokes.filter { held.take($0, canPress: runs) }
      if !taken.isEmpty { try? vm?.pressKeys(scancodes: taken.flatMap { $0 }) }
    case .text(let text):
      if runs { try? vm?.typeText(HeldKeys.typable(text)) }
    case .move(let dx, let dy, let wheel, let buttons):
      if runs { move(vm, dx, dy, wheel, buttons) }
    case .place(let x, let y, let wheel, let buttons):
      let before = place ?? (x, y)
      place = (x, y)
      if runs { move(vm, x - before.x, y - before.y, wheel, buttons) }
    }
    return true
  }

  private func move(_ vm: VirtualMachine?, _ dx: Int, _ dy: Int, _ wheel: Int, _ buttons: UInt8) {
    self.buttons = buttons
    vm?.movePointer(dx: dx, dy: dy, wheel: wheel, buttons: buttons)
  }

  /// Lets go of what the viewer holds, which has gone.
  func release(_ vm: VirtualMachine?) {
    let codes = held.releases
    held = HeldKeys()
    if !codes.isEmpty { try? vm?.pressKeys(scancodes: codes) }
    if buttons != 0 { vm?.movePointer(dx: 0, dy: 0, wheel: 0, buttons: 0) }
    buttons = 0
  }
}

/// Keys of scan code set 1 that are down.
struct HeldKeys {
  private var keys: Set<[UInt8]> = []

  /// The presses and releases in a message, each with its prefix; nil when the last one is cut off.
  static func strokes(_ codes: [UInt8]) -> [[UInt8]]? {
    var strokes: [[UInt8]] = []
    var rest = codes[...]
    while let first = rest.first {
      // Pause is six bytes, and has no release of its own.
      let length = first == 0xE0 ? 2 : first == 0xE1 ? 3 : 1
      guard rest.count >= length else { return nil }
      strokes.append(Array(rest.prefix(length)))
      rest = rest.dropFirst(length)
    }
    return strokes
  }

  /// - Returns: whether the keyboard gets the press or release: the release of a key that is not down means nothing.
  mutating func take(_ stroke: [UInt8], canPress: Bool) -> Bool {
    guard let code = stroke.last, stroke.first != 0xE1 else { return canPress }
    let key = stroke.dropLast() + [code & 0x7F]
    if code & 0x80 != 0 { return keys.remove(Array(key)) != nil }
    if canPress { keys.insert(Array(key)) }
    return canPress
  }

  /// What lets go of all keys.
  var releases: [UInt8] {
    keys.sorted { $0.lexicographicallyPrecedes($1) }.flatMap { $0.dropLast() + [($0.last ?? 0) | 0x80] }
  }

  /// The characters of a text that a US keyboard has.
  static func typable(_ text: String) -> String { text.filter { VirtualMachine.canType($0) } }
}
