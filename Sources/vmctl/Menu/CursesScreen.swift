import CCurses
import Foundation
import Management

/// The terminal, as ncurses draws on it.
struct CursesScreen {
  /// Something else than a key.
  enum Input { case key(MenuKey), resized }

  /// Takes the terminal.
  /// - Throws: `ManagementError` where there is none, or none that can be drawn on.
  init(_ what: String, instead: String, smallest: (columns: Int, rows: Int)) throws {
    guard isatty(0) == 1, isatty(1) == 1 else {
      throw ManagementError("\(what) needs a terminal", remedy: instead)
    }
    var size = winsize()
    if ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0,
      Int(size.ws_col) < smallest.columns || Int(size.ws_row) < smallest.rows
    {
      throw ManagementError(
        "the terminal has \(size.ws_col) columns and \(size.ws_row) rows; \(what) needs \(smallest.columns) and "
          + "\(smallest.rows)", remedy: "make it larger, or " + instead)
    }
    let name = ProcessInfo.processInfo.environment["TERM"] ?? ""
    guard vm_curses_open() == 0 else {
      throw ManagementError(
        name.isEmpty ? "TERM is not set" : "the terminal \"\(name)\" is not known, or cannot move its cursor",
        remedy: "set TERM to what it is, as TERM=vt100, or " + instead)
    }
  }

  func close() { vm_curses_close() }

  /// Of the locale that the terminal is in.
  static let columns = TextColumns { Int(vm_curses_width($0.value)) }

  var size: (columns: Int, rows: Int) { (Int(vm_curses_columns()), Int(vm_curses_rows())) }

  /// Gives the terminal to something else.
  func away<T>(_ body: () throws -> T) rethrows -> T {
    vm_curses_pause()
    defer { vm_curses_resume() }
    return try body()
  }

  func show(_ lines: [MenuScreen.Line], cursor: (row: Int, column: Int)?, all: Bool) {
    vm_curses_begin()
    for (row, line) in lines.enumerated() {
      let text = line.text.unicodeScalars.map(\.value)
      let style = [.plain: VM_STYLE_PLAIN, .bold: VM_STYLE_BOLD, .reverse: VM_STYLE_REVERSE][line.style]
      vm_curses_put(Int32(row), text, Int32(text.count), Int32((style ?? VM_STYLE_PLAIN)))
    }
    vm_curses_show(Int32(cursor?.row ?? -1), Int32(cursor?.column ?? 0), all ? 1 : 0)
  }

  /// The next key that has been pressed; nil: none.
  func input() -> Input? {
    var code: UInt32 = 0
    switch Int(vm_curses_key(&code)) {
    case VM_KEY_CHARACTER: return key(code).map { .key($0) }
    case VM_KEY_UP: return .key(.up)
    case VM_KEY_DOWN: return .key(.down)
    case VM_KEY_LEFT: return .key(.left)
    case VM_KEY_RIGHT: return .key(.right)
    case VM_KEY_PAGE_UP: return .key(.pageUp)
    case VM_KEY_PAGE_DOWN: return .key(.pageDown)
    case VM_KEY_HOME: return .key(.home)
    case VM_KEY_END: return .key(.end)
    case VM_KEY_BACKSPACE: return .key(.backspace)
    case VM_KEY_ENTER: return .key(.enter)
    case VM_KEY_RESIZE: return .resized
    default: return nil
    }
  }

  private func key(_ code: UInt32) -> MenuKey? {
    switch code {
    case 8, 127: return .backspace
    case 9: return .tab
    case 10, 13: return .enter
    case 27: return .escape
    case 1...26: return Unicode.Scalar(code + 96).map { .control(Character($0)) }
    case 32...: return Unicode.Scalar(code).map { .character(Character($0)) }
    default: return nil
    }
  }

  /// Waits for keys, or for one of the descriptors.
  /// - Returns: false when the terminal has gone.
  static func wait(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var wishes = [
      pollfd(fd: 0, events: Int16(POLLIN), revents: 0), pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
    ]
    _ = poll(&wishes, 2, milliseconds)
    return wishes[0].revents & Int16(POLLHUP | POLLERR | POLLNVAL) == 0
  }
}
