import Foundation
import Teleport

/// Which events of machines' logs operators are told of.
public enum LogLevel: String, Codable, CaseIterable, Sendable {
  case off
  case info, notice, warning, error, critical

  /// Levels as the log writes them, from the least to the most.
  private static let order = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

  /// Whether an event of a level is told.
  func tells(_ level: Substring) -> Bool {
    guard self != .off, let own = Self.order.firstIndex(of: rawValue),
      let other = Self.order.firstIndex(of: String(level))
    else { return false }
    return other >= own
  }
}

/// Events of a machine's log that were not told yet.
struct LogEvents: Equatable {
  /// Where the last look has ended: which file, and how far in it.
  struct Place: Codable, Equatable {
    /// Its number, which another file may get when it is gone, and how it begins: with a time. It only grows.
    var file: UInt64
    var head: String
    var offset: Int

    func isSameFile(_ other: Place) -> Bool { file == other.file && other.head.hasPrefix(head) }
  }

  /// Lines of an alert; more are counted.
  static let most = 20
  private(set) var lines: [String] = []
  private(set) var count = 0
  /// The last line of each kind that has an alert of its own.
  private(set) var urgent: [ServiceAlert: String] = [:]

  /// How the log speaks of what the host could not do for a disk.
  static let diskError = "disk error: "
  /// How it speaks of the loss of a backup.
  static let unprotected = "unprotected: "
  /// How it speaks of a machine that has come here as its primary host was lost.
  static let failedOver = "failed over: "

  private static let urgentLines: [(String, ServiceAlert)] = [
    (diskError, .diskError), (unprotected, .unprotected), (failedOver, .failedOver),
  ]

  /// The alert's text.
  var text: String {
    let rest = count - lines.count
    return lines.joined(separator: "\n") + (rest > 0 ? "\n... and \(rest) more" : "")
  }

  /// Takes what is new since a place.
  /// - Parameter place: nil: the first look, at which all is old.
  /// - Returns: where the next look begins.
  mutating func take(_ folder: VMFolder, since place: Place?, level: LogLevel) -> Place? {
    guard let end = Self.end(folder.log) else { return place }
    guard let place else { return end }
    var wanted: [(path: String, offset: Int)] = []
    if let index = (0...RotatingFile.kept).first(where: { Self.end(folder.log($0)).map(place.isSameFile) ?? false }) {
      wanted.append((folder.log(index), place.offset))
      wanted += (0..<index).reversed().map { (folder.log($0), 0) }
    } else {
      // The one of the last look is gone: all that is kept is new.
      wanted = (0...RotatingFile.kept).reversed().map { (folder.log($0), 0) }
    }
    var next = place
    for (path, offset) in wanted {
      guard let now = Self.end(path), let text = try? Files.read(path, limit: 64 << 20) else { continue }
      // A line that is not whole yet is left to the next look.
      let bytes = Array(text.utf8.dropFirst(min(offset, text.utf8.count)))
      let whole = bytes.lastIndex(of: 10).map { $0 + 1 } ?? 0
      for line in String(decoding: bytes[..<whole], as: UTF8.self).split(separator: "\n") { take(line, level) }
      next = Place(file: now.file, head: now.head, offset: min(offset, text.utf8.count) + whole)
    }
    return next
  }

  /// "2026-11-29T11:25:24.983Z error text".
  private mutating func take(_ line: Substring, _ level: LogLevel) {
    let words = line.split(separator: " ", maxSplits: 2)
    guard words.count == 3, words[0].first?.isNumber == true else { return }
    // What a guest writes is there, too, and is never an error.
    for (beginning, alert) in Self.urgentLines where words[2].hasPrefix(beginning) && LogLevel.error.tells(words[1]) {
      urgent[alert] = ForeignText.clean(String(words[2]), limit: 500)
    }
    guard level.tells(words[1]) else { return }
    count += 1
    if lines.count < Self.most { lines.append(ForeignText.clean(String(line), limit: 500)) }
  }

  private static func end(_ path: String) -> Place? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    let head = FileHandle(forReadingAtPath: path).flatMap { try? $0.read(upToCount: 64) }
    return Place(
      file: UInt64(status.st_ino), head: String(decoding: head ?? Data(), as: UTF8.self), offset: Int(status.st_size))
  }
}

extension Services {
  /// Raises one alert for each machine whose log has new events of the level that its service tells of, and those that have an
  /// alert of their own for each that does not refuse them.
  /// - Returns: what was told, for people.
  /// - Throws: `ManagementError` when the machines cannot be listed.
  public func tellLogEvents() throws -> [String] {
    var told: [String] = []
    for entry in try registry.list().entries {
      guard let settings = try? store.settings(entry), settings.logAlerts != .off else { continue }
      // Two looks at once would tell the same.
      guard let lock = try? FileLock(path: store.file(entry, "events.lock")), lock.tryLock(.editing) else { continue }
      defer { lock.unlock(.editing) }
      var events = LogEvents()
      let place = events.take(entry.folder, since: store.logPlace(entry), level: settings.logAlerts ?? .off)
      for (alert, text) in events.urgent {
        alert.raise(entry.name, text, store)
        told.append("\(entry.name): \(alert.rawValue)")
      }
      if events.count > 0 {
        ServiceAlert.logEvents.raise(entry.name, events.text, store)
        told.append("\(entry.name): \(events.count) events")
      }
      if let place { store.setLogPlace(entry, place) }
    }
    return told
  }
}

extension Services {
  private var eventTimer: String { "vmctl-events@\(UnitName.escape(registry.home)).timer" }

  /// Whether a machine of this service manager's wants its events told, or those that have alerts of their own.
  private func wantsEvents(_ scope: ServiceSettings.Scope) throws -> Bool {
    try registry.list().entries.contains { entry in
      guard let settings = try? store.settings(entry), settings.scope == scope else { return false }
      return settings.logAlerts != .off
    }
  }

  /// Has systemd look into the logs every minute while a machine wants that, and no longer.
  func keepEventTimer(_ manager: ServiceManager) throws {
    let isWanted = try wantsEvents(manager.scope)
    guard isWanted || manager.isEnabled(eventTimer, by: "timers.target") else { return }
    let units = UnitFiles(program: Program.own, scope: manager.scope)
    try manager.write(UnitFiles.events, units.events)
    try manager.write(UnitFiles.eventTimer, units.eventTimer)
    try manager.enable(eventTimer, isWanted, template: UnitFiles.eventTimer, by: "timers.target")
    if !isWanted && manager.isThere { _ = try? manager.require(["stop", eventTimer]) }
  }

  /// Where systemd runs, the timer begins now and not with the next boot.
  func startEventTimer(_ manager: ServiceManager) throws {
    guard manager.isEnabled(eventTimer, by: "timers.target") else { return }
    try manager.require(["start", eventTimer])
  }
}

extension ServiceStore {
  fileprivate func logPlace(_ entry: VMEntry) -> LogEvents.Place? {
    guard let text = try? Files.read(file(entry, "events"), limit: 1000) else { return nil }
    return try? JSONDecoder().decode(LogEvents.Place.self, from: Data(text.utf8))
  }

  fileprivate func setLogPlace(_ entry: VMEntry, _ place: LogEvents.Place) {
    guard let bytes = try? JSONEncoder().encode(place), logPlace(entry) != place else { return }
    try? Files.replace(file(entry, "events"), with: String(decoding: bytes, as: UTF8.self) + "\n")
  }
}
