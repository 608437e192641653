import ArgumentParser
import Foundation
import Management

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What the machines take of the host now: CPU, memory, disk and network rates, the busiest first.",
    discussion: "On a terminal it goes on until q is pressed. In a pipe, or with --once or --count, it prints tables.")
  @Option(name: [.customShort("d"), .long], help: ArgumentHelp("Seconds between two looks.", valueName: "seconds"))
  var interval: Double = 2
  @Flag(help: "Prints one table and ends.") var once = false
  @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Prints so many tables and ends.", valueName: "number"))
  var count: Int?
  @Option(help: "How to print them.") var format: OutputFormat?

  func validate() throws {
    guard (0.1...3600).contains(interval) else { throw ValidationError("--interval is from 0.1 to 3600 (seconds)") }
    guard count.map({ $0 > 0 }) ?? true else { throw ValidationError("--count is at least 1") }
    guard !(once && count != nil) else { throw ValidationError("--once and --count exclude each other") }
  }

  func run() throws {
    var rates = try MachineRates(try ServiceArgument.services)
    let isLive = !once && count == nil && format == nil && Terminal.outputIsTerminal
    if isLive { return try watch(&rates) }
    let columns = TextColumns { _ in 1 }
    var left = once ? 1 : count
    while left != 0 {
      usleep(UInt32(interval * 1e6))
      let table = try rates.look()
      if format == .json {
        try Terminal.json(table)
      } else {
        Terminal.line(ServiceText.header(table.host))
        for line in MachineRates.lines(table, columns: columns) { Terminal.line(line) }
      }
      left = left.map { $0 - 1 }
      if left != 0 && format != .json { Terminal.line("") }
    }
  }

  private func watch(_ rates: inout MachineRates) throws {
    let screen = try CursesScreen("vmctl top", instead: "use --once", smallest: (40, 4))
    defer { screen.close() }
    // Ends the wait, whatever sends it.
    let signals = SignalWatch([SIGTERM, SIGHUP]) {
      screen.close()
      Foundation.exit(0)
    }
    defer { withExtendedLifetime(signals) {} }
    var table = try rates.look()
    var next = ContinuousClock.now
    while true {
      if ContinuousClock.now >= next {
        table = try rates.look()
        next = ContinuousClock.now + .milliseconds(Int(interval * 1000))
      }
      draw(table, screen)
      let left = max(0, Int(ContinuousClock.now.duration(to: next) / .milliseconds(1)))
      guard CursesScreen.wait(-1, milliseconds: Int32(clamping: left + 1)) else { return }
      while let input = screen.input() {
        switch input {
        case .key(.character("q")), .key(.control("c")), .key(.escape): return
        default: break
        }
      }
    }
  }

  private func draw(_ table: MachineRates.Table, _ screen: CursesScreen) {
    let columns = CursesScreen.columns
    let (width, height) = screen.size
    var lines = [MenuScreen.Line(text: columns.fit(" " + ServiceText.header(table.host), width), style: .reverse)]
    for (index, line) in MachineRates.lines(table, columns: columns).enumerated() {
      lines.append(MenuScreen.Line(text: columns.fit(line, width), style: index == 0 ? .bold : .plain))
    }
    let room = max(1, height - 1)
    if lines.count > room { lines.removeSubrange(room...) }
    while lines.count < room { lines.append(MenuScreen.Line(text: "", style: .plain)) }
    lines.append(MenuScreen.Line(text: columns.fit(" every \(interval) s; q: leave", width), style: .bold))
    screen.show(lines, cursor: nil, all: false)
  }
}
